PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
BENCH := .venv-bench/.installed
COLAB := .venv-colab/.installed
OLDEST := .venv-min/.installed
# A notebook's kernel may take so many seconds of CPU time, on a busy machine, and 1 GB of memory.
NBVAL := -m pytest -p tests.kernels --seconds 120 --nbval-lax --nbval-current-env --nbval-cell-timeout=300
TOUR := notebooks/00_start_here.ipynb notebooks/05_one_sample_at_a_time.ipynb
OLD := problems rules run eigenpairs hessian flows widget panel platforms course
# Two processes on two cores: each with one thread, or they wait for one another.
PARALLEL := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --durations=25
BROWSER := SAMVIZ_BOOK=$(CURDIR)/build/book $(BIN)/python -m pytest tests/browser --durations=25

# Make targets one after another, and print the seconds that each took.
parts = @for part in $(1); do began=$$(date +%s); $(MAKE) --no-print-directory $$part || exit; \
	times="$$times$$(printf '%-12s%5d s' $$part $$(($$(date +%s) - began)))\n"; done; printf "$$times"

.DEFAULT_GOAL := help
.PHONY: help lab app test test-all lint unit exhaustive tour page notebooks colab oldest wheel browser alone soak
.PHONY: responsiveness mutants verify bench book pictures coverage clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/'

lab: $(STAMP) ## set up .venv and open the tutorial in JupyterLab
	$(BIN)/samviz lab

app: $(STAMP) ## serve the lab alone, as a web page without code
	$(BIN)/samviz app

test: $(STAMP) ## set up .venv and judge a change, in at most ten minutes
	$(call parts,lint unit tour page)

test-all: test ## all of the above, then everything that takes longer, in about half an hour more
	$(call parts,book exhaustive notebooks browser alone)

lint: $(STAMP) ## style, format and types, also of what Windows has
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32

unit: $(STAMP) ## the fast unit tests and doctests
	$(PARALLEL) -m "not slow and not browser and not install"

exhaustive: $(STAMP) ## the slow unit tests: exhaustive combinations, new interpreters, clocks
	SAMVIZ_BOOK=$(CURDIR)/build/book $(PARALLEL) -m "slow and not browser and not install"

tour: $(STAMP) ## run two notebooks from top to bottom
	SAMVIZ_LITE=0 $(BIN)/python $(NBVAL) $(TOUR)

notebooks: $(STAMP) ## run every notebook from top to bottom
	SAMVIZ_LITE=0 $(BIN)/python $(NBVAL) notebooks

colab: $(COLAB) ## run every notebook on what Colab ships
	SAMVIZ_LITE=0 .venv-colab/bin/python $(NBVAL) notebooks

oldest: $(OLDEST) ## run every notebook, and tests that need no peers, on the oldest versions (Python below 3.13)
	SAMVIZ_LITE=1 .venv-min/bin/python $(NBVAL) notebooks
	.venv-min/bin/python -m pytest $(OLD:%=tests/test_%.py)

wheel: $(STAMP) ## install the wheel into a new environment and run what a new user runs
	$(BIN)/python -m pytest -m install tests/install

page: $(STAMP) ## one page with a lab, every panel and a quiz, in a real browser
	$(BROWSER) -m "browser and not slow"

browser: $(STAMP) ## every other test in a real browser, two at a time
	$(BROWSER) -m "browser and slow and not alone" -n 2 --dist loadfile

alone: $(STAMP) ## the tests in a browser that measure time, with nothing beside them
	$(BROWSER) -m "browser and alone"

responsiveness: $(STAMP) ## how fast the lab and a panel answer in a real browser, with the targets; on an idle machine
	$(BIN)/python -m pytest -q -s -m browser tests/browser/test_timing.py

soak: $(STAMP) ## play two labs for ten minutes in a real browser
	SAMVIZ_SOAK_SECONDS=600 $(BIN)/python -m pytest -m browser -s tests/browser/test_soak.py

mutants: $(STAMP) ## put small faults into copies of the tree and see whether the tests detect each
	$(BIN)/python tests/mutants.py

verify: $(STAMP) ## run every claim in full and write report.html
	$(BIN)/samviz verify --report report.html

coverage: $(STAMP) ## lines and branches that the fast unit tests reach
	$(PARALLEL) -m "not slow and not browser and not install" --cov --cov-report=term

bench: $(BENCH) ## set up .venv-bench, measure samviz against its peers in 8 minutes, write benchmarks/README.md
	.venv-bench/bin/python -m benchmarks

book: $(STAMP) ## build the offline HTML book in build/book
	$(BIN)/python notebooks/book/build.py build/book

pictures: $(STAMP) ## write the notebooks from their scripts, with static pictures
	$(BIN)/python notebooks/render.py

clean: ## remove every .venv and every cache
	rm -rf .venv .venv-* build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find samviz tests notebooks benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(STAMP): PACKAGES = -c constraints.txt -e ".[lab,test]"
$(BENCH): PACKAGES = -c constraints.txt -c benchmarks/constraints.txt -e ".[bench]" kaleido
$(BENCH): benchmarks/constraints.txt
$(COLAB): PACKAGES = -c constraints-colab.txt -e . nbval pytest pytest-timeout psutil
$(COLAB): constraints-colab.txt
$(OLDEST): PACKAGES = -c constraints-min.txt -e ".[lab]" hypothesis nbval psutil pytest pytest-timeout pyyaml threadpoolctl
$(OLDEST): constraints-min.txt

# Made anew only when what they are made from has changed.
$(STAMP) $(BENCH) $(COLAB) $(OLDEST): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "samviz needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install $(PACKAGES)
	touch $@
