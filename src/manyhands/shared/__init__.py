"""State between processes: fields that all see, and totals that all add to.

::

    tally         what the running task has added: kept apart until the task is done, thrown away if it fails
    identity      which state a handle means, in every process; what is common to all fields
    merging       how what tasks have added becomes a total, and what a task may do with its part
    accumulator   the field that tasks add to
    committing    how parts get there
    fields        what is written in the body of a class: accumulator(), managed(), ...
    state         what ``@shared_state`` makes of a class, and of a function

Only ``tally`` is loaded by programs that share nothing.
"""
