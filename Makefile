# demo   the environment from the lock, then the quickstart (embedded Ray, CPU); ARGS=serve.port=8001 and the like
# test   the environment, then the test suite; ARGS="-k sampler" and the like
# check  lint, formatting, types, import layers
# lock   resolve the dependencies of pyproject.toml again (needs uv)
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Named after what the environment was made from: another lock or another Python makes another one.
STAMP := $(VENV)/.made-$(shell (cat requirements.lock .ci/environment; $(PYTHON) --version) | sha256sum | cut -c1-16)

.PHONY: demo test check lock environment
demo: environment
	$(BIN)/raysmith run configs/quickstart.yaml $(ARGS)

test: environment
	$(BIN)/pytest $(ARGS)

check: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

environment: $(STAMP)

$(STAMP):
	bash .ci/environment $(PYTHON) $(VENV)
	touch $@

lock:
	bash .ci/lock
