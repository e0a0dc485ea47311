"""What people look at: everything here is made from records, and nothing here computes or judges.

A session writes its run, and everything else reads it:

    stream      a session's records become a run, a folder that is complete up to the last check at any moment
    read        a run becomes records again
    suite       which state of the suite made a run
    compare     what changed between two runs; baseline: the same at the end of a session
    merge       shards of one run become that run
    upgrade     environments of two versions, a run in each, and their comparison
    script      a check as a program of its own (made by `backends.standalone`)
    terminal    the summary at the end of a session
"""
