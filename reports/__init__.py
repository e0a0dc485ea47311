"""What people look at: everything here is made from records, and nothing here computes or judges.

A session writes its run, and everything else reads it:

    stream         a session's records become a run, a folder that is complete up to the last check at any moment
    read           a run becomes records again; record.schema.json describes what is in its folder
    terminal       the summary at the end of a session
    stale          recorded deviations that a whole run shows to be out of date
    notices        what a run did not do, and what failed it besides its checks
    views          the files below, written when a session ends and by `python -m reports page DIR`

    page           index.html: the grid of families and backends, down to one check
      columns      records by columns, small when compressed, and what the cases say
      formula      the mathematics of a case
      html         one self-contained file of style, script and data; templates/ and assets/ hold its parts
    markdown       summary.md, for a pull request or the summary of a CI step
    badge          badge.json, for shields.io
    annotations    failing cases at their lines, under GitHub Actions

    compare        what changed between two runs; baseline: the same at the end of a session
      suite        which state of the suite made a run
    merge          shards of one run become that run
    upgrade        environments of two versions, a run in each, and their comparison
    script         a check as a program of its own (made by `backends.standalone`)
"""
