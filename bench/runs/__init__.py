"""A benchmark becomes runs: plan and identity, launch, sweep, audit, submissions, own videos."""
