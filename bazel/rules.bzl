"""The four rules of Postfleet's BUILD files.

    pf_library  a C++ library
    pf_binary   a program
    pf_test     a GoogleTest program
    pf_proto    one .proto file as a C++ library, with its gRPC stubs

Visibility follows from the folder, so that dependencies point one way:
proto, libs/base <- libs/* <- services/<one> <- services/all <- tests.
"""

# What the compiler is asked to refuse in our own code.
_WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wnon-virtual-dtor",
    "-Woverloaded-virtual",
    "-Wimplicit-fallthrough",
    # A field left out of a designated initializer has its default.
    "-Wno-missing-field-initializers",
    # GCC 12 sees both in inlined std::string and std::optional (GCC bugs 105329, 105562).
    "-Wno-restrict",
    "-Wno-maybe-uninitialized",
]

# A pure library decides and does not act: these belong to the adapters around it.
_NOT_PURE = [
    "@system//:asio",
    "@system//:grpc",
    "@system//:lmdb",
    "@system//:prometheus",
    "@system//:rocksdb",
    "@system//:unbound",
]

def _visibility():
    """Who may use a target of this package, by its folder."""
    parts = native.package_name().split("/")
    if parts[0] == "proto":
        return ["//visibility:public"]
    if parts[:2] == ["libs", "base"]:
        return ["//bazel:above_proto"]
    if parts[0] == "libs":
        return ["//bazel:above_base"]
    if parts[0] == "services" and len(parts) > 1:
        return [
            "//services/%s:__subpackages__" % parts[1],
            "//services/all:__subpackages__",
            "//tests:__subpackages__",
        ]
    return ["//%s:__subpackages__" % parts[0], "//tests:__subpackages__"]

def _check_pure(name, deps):
    for dep in deps:
        if dep in _NOT_PURE:
            fail("%s is pure: it decides and does no I/O, so it cannot use %s" % (name, dep))

def pf_library(name, srcs = [], hdrs = [], deps = [], pure = False, visibility = None, copts = [], **kwargs):
    """A library. pure = True refuses direct dependencies that do I/O."""
    if pure:
        _check_pure(name, deps)
    native.cc_library(
        name = name,
        srcs = srcs,
        hdrs = hdrs,
        deps = deps,
        copts = _WARNINGS + copts,
        linkstatic = True,
        visibility = visibility or _visibility(),
        **kwargs
    )

def pf_binary(name, srcs = [], deps = [], jemalloc = False, visibility = None, copts = [], **kwargs):
    """A program. jemalloc = True for servers: glibc's malloc doubles RocksDB's memory."""
    if jemalloc:
        kwargs["malloc"] = "@system//:jemalloc"
    native.cc_binary(
        name = name,
        srcs = srcs,
        deps = deps,
        copts = _WARNINGS + copts,
        visibility = visibility or _visibility() + ["//:__pkg__"],
        **kwargs
    )

def pf_test(name, srcs = None, deps = [], size = "small", copts = [], **kwargs):
    """A test of <name>.cc, with GoogleTest, GoogleMock and main()."""
    native.cc_test(
        name = name,
        srcs = srcs or [name + ".cc"],
        deps = deps + ["@system//:gtest_main"] + select({
            "//third_party:thread_sanitized": ["//third_party:tsan_order"],
            "//conditions:default": [],
        }),
        size = size,
        copts = _WARNINGS + copts,
        linkstatic = True,
        **kwargs
    )

def _sources_of(label):
    """The label of the .proto files below a pf_proto."""
    if ":" in label:
        return label + "_sources"
    return "%s:%s_sources" % (label, label.split("/")[-1])

def pf_proto(name, src = None, deps = [], grpc = True, visibility = None):
    """One .proto file (<name>.proto) as a library.

    Its header is "<package>/<name>.pb.h" from the workspace's root, and with
    grpc = True also "<package>/<name>.grpc.pb.h". deps are other pf_protos; they
    are imported by their path from the root.
    """
    src = src or name + ".proto"
    stem = src[:-len(".proto")]
    visibility = visibility or _visibility()
    native.filegroup(
        name = name + "_sources",
        srcs = [src] + [_sources_of(dep) for dep in deps],
        visibility = visibility,
    )
    suffixes = [".pb"] + ([".grpc.pb"] if grpc else [])
    hdrs = [stem + suffix + ".h" for suffix in suffixes]
    srcs = [stem + suffix + ".cc" for suffix in suffixes]
    plugin = "--plugin=protoc-gen-grpc=/usr/bin/grpc_cpp_plugin --grpc_out=$(GENDIR)"
    native.genrule(
        name = name + "_generate",
        srcs = [src, name + "_sources"],
        outs = hdrs + srcs,
        cmd = "/usr/bin/protoc -I. --cpp_out=$(GENDIR) %s $(location %s)" % (plugin if grpc else "", src),
    )
    native.cc_library(
        name = name,
        srcs = srcs,
        hdrs = hdrs,
        copts = ["-w"],
        linkstatic = True,
        deps = deps + ["@system//:grpc" if grpc else "@system//:protobuf"],
        visibility = visibility,
    )
