# make setup, make lab, make test: see `make help`. Needs Python, pip, make and git, nothing else.
#   PYTHON=python3.12            the Python to set up with; without it that of .venv, else the first that suits
#   EXTRAS=kernels               more of pyproject.toml's extras, here for chapter 14
#   ARGS="--port 9000"           passed on to the command that lab, test or release runs

PYTHON =
EXTRAS =
ARGS =

BIN := $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)
COURSE := $(BIN)/python -m cs231n_gen.cli
TESTS := OMP_NUM_THREADS=1 TRITON_INTERPRET=1 $(BIN)/python -m pytest
# Longest files first; which are cut, and what --quick leaves out, is in tests/selection/tiers.py.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
EVERY := tests/project tests/public tests/hidden tests/gpu
# Tests of a whole JupyterLab, which several processes beside it would starve.
ALONE := tests/project/browser
HOLDS_ALONE := $(filter tests tests/ tests/project tests/project/,$(ARGS))
# Formats and lints the JavaScript of figures, in the version that package.json and its lock file say.
BIOME := node_modules/.bin/biome check --error-on-warnings
# The hidden graders are only here, not in the course that students get.
SOURCE := $(wildcard tests/hidden)

# A set-up that is there already takes well under a second.
define set_up
@python="$(PYTHON)"; \
for one in $(BIN)/python python3 python3.14 python3.13 python3.12 python3.11 python; do \
	if [ -z "$$python" ] && $$one -c 'import sys; assert (3, 11) <= sys.version_info < (3, 15)' 2>/dev/null; \
	then python=$$one; fi; \
done; \
python=$${python:-python3}; \
command -v $$python >/dev/null \
	|| { echo "the course needs Python 3.11 or newer; found no $$python" >&2; exit 2; }; \
$$python -c 'import sys; assert sys.version_info >= (3, 6)' 2>/dev/null \
	|| { echo "the course needs Python 3.11 or newer; $$python is older" >&2; exit 2; }; \
$$python cs231n_gen/cli/bootstrap.py --extras "$(1)"
endef

# Of the system: bubblewrap makes the jail in which submissions are graded; tests of figures need
# node and a Chromium.
define have
@missing=; for one in bwrap:bubblewrap $(1); do \
	command -v $${one%%:*} >/dev/null || missing="$$missing $$(echo $$one | cut -d: -f2)"; \
done; \
[ -z "$$missing" ] || [ "$$(uname)" != Linux ] || { \
	[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	&& { echo "installing$$missing"; apt-get install -qq -y --no-install-recommends $$missing >/dev/null \
		|| { apt-get update -qq && apt-get install -qq -y --no-install-recommends $$missing >/dev/null; }; }; \
} || { echo "missing: install$$missing with your system's packages (apt install$$missing)" >&2; exit 2; }
endef

help:
	@echo "make setup     install everything into .venv"
	@echo "make lab       the same, then open JupyterLab on chapter 00 (ARGS=\"--port 9000 --no-browser\")"
ifneq ($(SOURCE),)
	@echo "make test      the same, then lint and run the tests, of long families some (ARGS=\"tests/project -x\")"
	@echo "make proof     run what make test leaves out, but for exercises and chapters that stand proved"
	@echo "make test-all  run all there is, whatever stands proved: an hour of two cores"
	@echo "make release   build what students get: build/course and build/course.zip (ARGS=\"--only 04\")"
	@echo "make site      build the reader's site: build/site/index.html (ARGS=\"--only 04 --with-solutions\")"
	@echo "make lint      format, and mend what the linter can"
else
	@echo "make test      the same, then check every exercise (ARGS=\"flow.interpolate\")"
endif
	@echo "make clean     remove .venv, build and caches"

setup:
	$(call set_up,$(EXTRAS))

lab:
	$(call set_up,$(EXTRAS))
	@$(COURSE) lab $(ARGS)

ifneq ($(SOURCE),)
test: lint-js
	$(call have,chromium:chromium node:nodejs)
	$(call set_up,test site $(EXTRAS))
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
ifeq ($(ARGS),)
	@$(TESTS) --quick $(PARALLEL) --ignore=$(ALONE) $(EVERY)
	@$(TESTS) --quick $(ALONE)
else ifneq ($(findstring $(ALONE),$(ARGS)),)
	@$(TESTS) $(ARGS)
else
	@$(TESTS) $(PARALLEL) --ignore=$(ALONE) $(ARGS)
	@$(if $(HOLDS_ALONE),$(TESTS) $(filter-out tests tests/ tests/project tests/project/,$(ARGS)) $(ALONE) -n 0 \
		|| [ $$? = 5 ])  # 5: none of them was chosen, by -k for example
endif

# FULL=1: whatever stands proved.
proof:
	$(call have,chromium:chromium node:nodejs)
	$(call set_up,test site $(EXTRAS))
	@$(TESTS) --rest $(ALONE)
	@$(BIN)/python tests/selection prove $(PARALLEL) --ignore=$(ALONE) $(EVERY)

test-all:
	@$(MAKE) test ARGS=
	@$(MAKE) proof FULL=1

release:
	$(call set_up,$(EXTRAS))
	@$(COURSE) release $(ARGS)

site:
	$(call set_up,site kernels $(EXTRAS))
	@$(COURSE) site $(ARGS)

# Debian's nodejs comes without npm.
node_modules/.package-lock.json: package.json package-lock.json .npmrc
	$(call have,node:nodejs npm:npm)
	@npm ci --no-audit --no-fund --loglevel=error
	@touch $@

lint-js: node_modules/.package-lock.json
	@$(BIOME)

lint: node_modules/.package-lock.json
	$(call set_up,test $(EXTRAS))
	@$(BIOME) --write
	@$(BIN)/python -m ruff check --fix .
	@$(BIN)/python -m ruff format .
else
test:
	$(call set_up,$(EXTRAS))
	@$(COURSE) check $(ARGS)
endif

clean:
	@echo "removing .venv, node_modules, build, *.egg-info, .ruff_cache and every __pycache__"
	@rm -rf .venv node_modules build *.egg-info .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

export FULL

.PHONY: help setup lab test proof test-all release site lint lint-js clean
