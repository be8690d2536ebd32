# Each target makes its own environment from nothing; all it takes is make and a Python 3.11 or later.
PYTHON ?= python3
VENV := .venv

.PHONY: demo test check loops bench bench-cluster explore soak mutation debug-memory asan wheel clean

demo: $(VENV)/demo
	$(VENV)/demo/bin/python -m holdfast demo

# The whole suite, on every supported interpreter that is found on this machine; the task tier on both twins.
test: $(VENV)/nox
	$(VENV)/nox/bin/nox --session test

check: $(VENV)/nox
	$(VENV)/nox/bin/nox --session check

# What a program does with holdfast, in each event loop that can be installed; docs/compatibility.md has the table.
loops: $(VENV)/nox
	$(VENV)/nox/bin/nox --session loops

# Every schedule of every primitive, within larger bounds than in the tests; stops after so many minutes.
MINUTES ?= 30
explore: $(VENV)/nox
	HOLDFAST_EXPLORE_MINUTES=$(MINUTES) $(VENV)/nox/bin/nox --session explore

# Four threads of ten tasks; then eight processes of fifty tasks contend for everything, cancel at random, and are killed.
# SEED=... as it printed, to repeat; SERVER=1: the processes on a Valkey.
soak: $(VENV)/nox
	$(VENV)/nox/bin/nox --session soak -- --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(SERVER),--server)

# Takes out each guarding line in turn, and shows that some test fails.
mutation: $(VENV)/nox
	$(VENV)/nox/bin/nox --session mutation

# The task tier on the compiled twin, with an allocator that checks each block; with AddressSanitizer (gcc and its libasan).
debug-memory: $(VENV)/nox
	$(VENV)/nox/bin/nox --session debug-memory

asan: $(VENV)/nox
	$(VENV)/nox/bin/nox --session asan

# dist/: the sdist, a wheel for this platform and one in pure Python; see docs/building.md.
wheel: $(VENV)/nox
	$(VENV)/nox/bin/nox --session wheel

# Takes a while; writes benchmarks/results/.
bench: $(VENV)/nox
	$(VENV)/nox/bin/nox --session bench

# The Lock across processes against filelock and flock, then on a server against its peers there: a quarter of an hour;
# writes benchmarks/results/cluster-*.
bench-cluster: $(VENV)/nox
	$(VENV)/nox/bin/nox --session bench-cluster

$(VENV)/demo: pyproject.toml
	$(PYTHON) -m venv --clear $@
	$@/bin/python -m pip install --quiet --editable '.[cli]'
	touch $@

$(VENV)/nox: noxfile.py
	$(PYTHON) -m venv --clear $@
	$@/bin/python -m pip install --quiet 'nox>=2025.2.9'
	touch $@

clean:
	rm -rf $(VENV) .nox .mypy_cache .ruff_cache .pytest_cache build dist
