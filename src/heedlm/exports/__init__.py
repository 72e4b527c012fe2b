"""Export: a tuned model in the form that other runtimes load, with the proof that they see the same."""
