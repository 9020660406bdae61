"""What libs/config's table says of a parameter is what the sources do.

A parameter that is marked as honoured and read by nobody would be accepted in silence and do
nothing. So each name of the table with kHonoured or kPartly must stand, quoted, in a source of
services, libs or commands that is neither a test nor the table or its checks of values; or, where
its only reader is "config", in the default of another parameter as $name. And what is read by a
getter of Config must not be marked as unsupported.

<transport>_destination_... names are put together from pieces: the part behind "_destination_" is
enough.
"""

import re

TABLES = ("libs/config/parameters.inc", "libs/config/parameters_other.inc",
          "libs/config/parameters_protective.inc", "libs/config/parameters.cc")
# They name parameters to describe or to check them.
NO_READERS = re.compile(
    r"_test\.cc$|^libs/config/(?:parameters|config_check|config)\.(?:cc|h)$|\.inc$|^tests/")

ROW = re.compile(r'^\{"(?P<name>\w+)", k\w+, "(?P<default>(?:[^"\\]|\\.)*)"'
                 r'(?:, -?\d+, "(?P<readers>[^"]*)", k(?P<status>\w+))?')
NAMED_ROW = re.compile(r'^\{\.name = "(?P<name>\w+)".*?\.default_value = "(?P<default>[^"]*)", '
                       r'\.status = k(?P<status>\w+)(?P<readers>)')
TRANSPORT_ROW = re.compile(
    r'\{"", "(?P<name>_\w+)",\s*"\w+",\s*"[^"]*",\s*k\w+,\s*k(?P<status>\w+)\}')
GETTER = re.compile(r'\bGet(?:String|Bool|Int|Size|Time|List)\("(\w+)"\)')


class Parameter:
    def __init__(self, path, line, name, status, default="", readers=""):
        self.path, self.line, self.name, self.status = path, line, name, status
        self.default, self.readers = default, readers


def parameters_of(path, text):
    """The rows of one table; of parameters.cc, what every transport has."""
    if path.endswith(".cc"):
        for row in TRANSPORT_ROW.finditer(text):
            line = text.count("\n", 0, row.start()) + 1
            yield Parameter(path, line, row["name"], row["status"])
        return
    for number, line in enumerate(text.splitlines(), 1):
        row = ROW.match(line) or NAMED_ROW.match(line)
        if row:
            yield Parameter(path, number, row["name"], row["status"] or "Unsupported",
                            row["default"], row["readers"] or "")
        elif line.startswith("{"):
            raise ValueError("%s:%d: a row that bazel/parameters_read.py cannot read" % (path, number))


def code_of(text):
    return re.sub(r"(?m)(?:^|\s)//.*$", "", text)


def is_named(name, code):
    pieces = [name]
    if "_destination_" in name:
        pieces.append(name.split("_destination_", 1)[1])
    if name.startswith("default_"):
        # Read as of any transport.
        pieces.append(name[len("default"):])
    return any('"%s"' % piece in code for piece in pieces)


def errors_of(tables, sources):
    """tables, sources: {path: text}. Yields (path, line, what)."""
    parameters = [p for path, text in sorted(tables.items()) for p in parameters_of(path, text)]
    code = "\n".join(code_of(text) for path, text in sources.items() if not NO_READERS.search(path))
    defaults = " ".join(p.default for p in parameters)
    read = set(GETTER.findall(code))
    for p in parameters:
        if p.status in ("Honoured", "Partly"):
            used = p.readers == "config" and re.search(r"\$[{(]*%s\b" % p.name, defaults)
            if not used and not is_named(p.name, code):
                yield p.path, p.line, ("%s is marked as honoured, and no source reads it: read it, "
                                       "or mark it as unsupported" % p.name)
        elif p.status in ("Unsupported", "Protective") and p.name in read:
            yield p.path, p.line, ("%s is read by a source: mark it as honoured, or read it no more"
                                   % p.name)
