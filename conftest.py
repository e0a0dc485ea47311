"""pytest's front door: the files that it opens, each after those that it needs."""

pytest_plugins = (
    "fuzzing.session",  # --fuzz: generated cases in place of the files
    "runner.options",  # --backend, --shard …, and the refusal of what nothing can have
    "runner.item",  # a check, its record, its word in pytest's output
    "runner.steps",  # how it runs, and how its report travels
    "runner.collection",  # a case file becomes items
    "runner.extent",  # what of the selected checks is left out
    "runner.hosts",  # the machines of workers elsewhere
    "runner.session",  # which backends can run here, the plan, the reports that listen
    "runner.leftovers",  # a thread that an adapter left running
    "runner.crash",  # a check that took its worker down
    "runner.losses",  # a host that is lost
    "runner.watchdog",  # a check that never ends takes it down
)
