"""The catalogue of docs/synapse-link-format.md, section 13, as tests.

``test_case_NN_...`` gives the outcome of case NN; the tests around it go further into
the same theme. They are written from the specification, not from the code.
"""
