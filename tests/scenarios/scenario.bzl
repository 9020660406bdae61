"""scenario_test: one <name>.py of facts, run against all programs."""

_PROGRAMS = [
    "//commands:postdrop",
    "//commands:postfleet",
    "//commands:sendmail",
    "//services/all:postfleetd",
    "//services/delivery/privileged:helper",
    "//services/delivery:deliveryd",
    "//services/ingress:ingressd",
    "//services/launcher:launcher",
    "//services/lookup:lookupd",
    "//services/queue:queued",
    "//services/scheduler:schedulerd",
]

# What more than one file of facts uses.
_SHARED = [
    "corpus.py",
    "facts.py",
    "harness.py",
    "machine.py",
    "postfix_form.py",
    "smtp_client.py",
    "smtp_load.py",
    "smtp_peer.py",
]

def scenario_test(name, size = "medium", tags = [], data = []):
    """A target for <name>.py. data: other files of facts that it uses."""
    native.sh_test(
        name = name,
        size = size,
        srcs = ["run_scenario.sh"],
        args = ["tests/scenarios/%s.py" % name],
        data = [name + ".py", "//tests/node"] + data + _SHARED + _PROGRAMS,
        tags = tags,
    )
