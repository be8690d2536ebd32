# Each target makes its own environment from nothing. demo, test and check take make and a Python 3.11 or later; what
# another one takes stands above it.
PYTHON ?= python3
VENV := .venv

.PHONY: demo test check docs pictures loops third-party free-threaded thread-sanitizer pypy pyodide bench bench-cluster \
	explore soak campaign mutation debug-memory asan dist clean

demo: $(VENV)/demo
	$(VENV)/demo/bin/python -m holdfast demo

# The whole suite, on every supported interpreter that is found on this machine; the task tier on both twins.
test: $(VENV)/nox
	$(VENV)/nox/bin/nox --session test

# The tasks' and the threads' tests without the GIL, on both twins, and their stress for so many minutes each. The interpreter
# is that of PYTHON_FREE_THREADED=/path/to/python3.13t, or one on PATH; else Debian's source package is built, once.
STRESS ?= 3
free-threaded: $(VENV)/nox
	python=$$($(PYTHON) tests/free_threaded/interpreter.py) && PYTHON_FREE_THREADED=$$python \
		$(VENV)/nox/bin/nox --session free-threaded -- --minutes $(STRESS)

# The compiled twin with ThreadSanitizer, in an interpreter that has it as well: PYTHON_THREAD_SANITIZER, or built, once.
thread-sanitizer: $(VENV)/nox
	python=$$($(PYTHON) tests/free_threaded/interpreter.py --thread-sanitizer) && PYTHON_THREAD_SANITIZER=$$python \
		$(VENV)/nox/bin/nox --session thread-sanitizer

check: $(VENV)/nox
	$(VENV)/nox/bin/nox --session check docs

# The manual: build/docs/html/index.html.
docs: $(VENV)/nox
	$(VENV)/nox/bin/nox --session docs

# docs/pictures/, after a change of a Mermaid fence of the manual, and docs/screens/, the page of holdfast web. Takes node, npm
# (which downloads 180 MB), Chromium and chromedriver.
pictures: $(VENV)/nox
	$(VENV)/nox/bin/nox --session pictures

# What a program does with holdfast, in each event loop that can be installed; docs/compatibility.md has the table.
loops: $(VENV)/nox
	$(VENV)/nox/bin/nox --session loops

# Other people's suites as they are and with install(): test by test the same, on 3.11 and 3.13. An hour; ONLY=janus: that one.
# Writes tests/third_party/results/, and the table in docs/compatibility.md.
third-party: $(VENV)/nox
	$(VENV)/nox/bin/nox --session third-party --error-on-missing-interpreters -- $(if $(ONLY),--only $(ONLY))

# Every schedule of every primitive, within larger bounds than in the tests: some five minutes. Then within bounds that are
# larger still, as far as it gets in so many minutes.
MINUTES ?= 30
explore: $(VENV)/nox
	HOLDFAST_EXPLORE_MINUTES=$(MINUTES) $(VENV)/nox/bin/nox --session explore

# Four threads of ten tasks; then eight processes of fifty tasks and four threads contend for everything, cancel and give
# up at random, and are killed.
# SEED=... as it printed, to repeat; SERVER=1: the processes on a Valkey; SERVER=postgres or etcd: on one.
soak: $(VENV)/nox
	$(VENV)/nox/bin/nox --session soak -- --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(SERVER),--server $(filter postgres etcd,$(SERVER)))

# What CI leaves out of the suite, on one Python: the same faults at more moments, and on more engines. Ten minutes.
campaign: $(VENV)/nox
	$(VENV)/nox/bin/nox --session campaign

# Takes out each guarding line in turn, and shows that some test fails.
mutation: $(VENV)/nox
	$(VENV)/nox/bin/nox --session mutation

# The task tier on the compiled twin, with an allocator that checks each block; with AddressSanitizer (gcc and its libasan).
debug-memory: $(VENV)/nox
	$(VENV)/nox/bin/nox --session debug-memory

asan: $(VENV)/nox
	$(VENV)/nox/bin/nox --session asan

# The whole suite on PyPy: that of PYPY=…/bin/pypy3, else pypy3.11 or pypy3 of PATH. Takes an hour.
pypy: $(VENV)/nox
	$(if $(PYPY),PYPY='$(PYPY)') $(VENV)/nox/bin/nox --session pypy

# The task tier, memory: and the explorer in Pyodide, which is how CPython runs in a browser; takes node and npm, which downloads 14 MB. From then
# on it is part of make test.
pyodide: $(VENV)/nox
	$(VENV)/nox/bin/nox --session pyodide

# dist/: the sdist, a wheel for each Python of this machine and one in pure Python. They are checked, and the suite runs
# against each wheel in an environment of its own, without the source at hand. Takes as long as make test.
dist: $(VENV)/nox
	$(VENV)/nox/bin/nox --session dist installed dist-check

# On 3.11, 3.13, 3.14 and 3.15, as far as they are there. Takes a while; writes benchmarks/results/.
bench: $(VENV)/nox
	$(VENV)/nox/bin/nox --session bench

# The Lock across processes against filelock and flock, then on a server against its peers there, then how its costs grow:
# half an hour; writes benchmarks/results/cluster-*. BEFORE=v0.1.0: an earlier build takes part.
bench-cluster: $(VENV)/nox
	$(VENV)/nox/bin/nox --session bench-cluster $(if $(BEFORE),-- --before $(BEFORE))

$(VENV)/demo: pyproject.toml
	@echo 'Once, an environment is made in $@: half a minute.'
	$(PYTHON) -m venv --clear $@
	$@/bin/python -m pip install --quiet --editable '.[cli]'
	touch $@

$(VENV)/nox: noxfile.py
	@echo 'Once, an environment is made in $@: half a minute.'
	$(PYTHON) -m venv --clear $@
	$@/bin/python -m pip install --quiet 'nox>=2025.2.9'
	touch $@

clean:
	rm -rf $(VENV) .nox .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
