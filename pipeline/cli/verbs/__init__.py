"""What each verb of the command line does: `run(options)` of the module called like it, an exit status."""
