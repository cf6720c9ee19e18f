"""The paper's models and figures on the testbed: a plan of runs, what is measured on them, and what the paper claims."""
