"""The paper's models and figures on the testbed: a plan of runs, their measurements, and what the paper claims."""
