"""Reports for people: everything here is made from records; nothing here computes results or decides verdicts.

A session writes its run; everything else reads it:

    folders        where runs are: a folder for each session, and the last whole run
    environment    what a result can depend on besides suite and backends: Python, packages, the machine
    stream         writes a session's records to a run folder, which is complete up to the last check at any moment
    read           reads a run folder back, and checks it; record.schema.json describes its contents
      fields       the fields without which nothing can be shown
    damage         where a run's files are wrong, once reading them has failed
    terminal       the summary at the end of a session
    stale          recorded deviations that a whole run shows to be out of date
    notices        what a run did not do, and what made it fail other than its checks
    views          the files below, written when a session ends and by `python -m reports page DIR`

    page           index.html: the grid of families and backends, down to one check
      columns      records as columns, which compress well, and the statements of the cases
      formula      the mathematics of a case
      html         a self-contained file of styles, scripts and data; its parts are in templates/ and assets/
    markdown       summary.md, for a pull request or the summary of a CI step
    badge          badge.json, for shields.io
    annotations    failing cases annotated at their lines, under GitHub Actions

    compare        what changed between two runs; baseline: the same at the end of a session
      suite        digests that identify the state of the suite that made a run
    merge          joins the shards of a run
    ran            whether the suite itself worked in a run
    upgrade        builds an environment for each of two versions, runs the checks in both, and compares the runs
    script         a check as a stand-alone program (written by `backends.standalone`)
"""
