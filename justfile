# Everything you can do with betmesh. `./just` makes .venv first where that is needed.

# Arguments reach the commands as they were quoted.
set positional-arguments

export PATH := justfile_directory() / ".venv/bin" + ":" + env("PATH")

# List the recipes
_default:
    @just --list --unsorted

# Make .venv from requirements.lock (every recipe does so when needed)
[group('run it')]
[no-exit-message]
setup:
    @echo "ready: .venv holds everything, nothing else need be installed"

# Start servers, databases, all services and the outside world; Ctrl-C stops them
[group('run it')]
[no-exit-message]
up *args:
    @python -m svc up "$@"

# Services in one process, beside or instead of those of up: WALLET_PORT=0 just run wallet
[group('run it')]
[no-exit-message]
run *names:
    @python -m svc run "$@"

# Only NATS, Postgres and Valkey: just servers start|stop|run
[group('run it')]
[no-exit-message]
servers *args:
    @python -m svc servers "$@"

# Make certificates for development; encrypt everything: eval "$(./just certs)", then ./just up
[group('run it')]
[no-exit-message]
certs:
    @python -m svc certs

# Begin every service (or those named) anew, one by one, while they are in use
[group('run it')]
[no-exit-message]
roll *names:
    @python -m svc roll "$@"

# Drive the four flows through a running system and show what was seen on the wire
[group('run it')]
[no-exit-message]
demo *args:
    @python -m svc demo "$@"

# Print addresses and development secrets as shell exports: eval "$(./just env)"
[group('run it')]
[no-exit-message]
env:
    @python -m svc env

# Run tests; arguments go to pytest
[group('change it')]
test *args:
    pytest "$@"

# Run every gate: lint, format, types, walls, freshness of generated files
[group('change it')]
check:
    ruff check
    ruff format --check
    basedpyright
    lint-imports
    python -m svc generate --check
    just --fmt --check --unstable

# Measure the wallet beside what it replaces: just bench wallet [--quick] [--only NAME...]
[group('change it')]
[no-exit-message]
bench *args:
    @python -m tests.bench {{ args }}

# Format everything
[group('change it')]
fmt:
    ruff check --fix-only --quiet
    ruff format
    just --fmt --unstable

# Write what follows from the declarations: subjects.md, jetstream/, openapi.json, ...
[group('change it')]
generate *args:
    @python -m svc generate "$@"

# Scaffold a service
[group('change it')]
new-service name:
    @python -m svc new-service "$1"

# Resolve requirements.lock anew from pyproject.toml (needs uv on PATH)
[group('change it')]
lock *args:
    uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 --custom-compile-command './just lock' --group dev pyproject.toml -o requirements.lock "$@"

# Bring databases and streams to the state this checkout needs
[group('look inside')]
[no-exit-message]
migrate:
    @python -m svc migrate

# Open psql as the reader of all databases, or as a service: just psql wallet
[group('look inside')]
[no-exit-message]
psql *args:
    @python -m svc psql "$@"

# Run the nats CLI with the operator's credentials: just nats micro ls
[group('look inside')]
[no-exit-message]
nats *args:
    @python -m svc nats "$@"

# Show the logs of servers and services: just logs [-f] [NAME...]
[group('look inside')]
[no-exit-message]
logs *args:
    @python -m svc logs "$@"

# Show what endpoints and consumers do, live: just top [--once] [--all]
[group('look inside')]
[no-exit-message]
top *args:
    @python -m svc top "$@"

# Events that no consumer could work on: just dead list|show|replay|drop
[group('look inside')]
[no-exit-message]
dead *args:
    @python -m svc dead "$@"

# Where calls go and how, without restarts: just policy set|show|clear|log
[group('look inside')]
[no-exit-message]
policy *args:
    @python -m svc policy "$@"

# Rebuild what a service derived from events: just replay reporting --since 2026-11-01
[group('look inside')]
[no-exit-message]
replay *args:
    @python -m svc replay "$@"

# Check the whole ledger and its chain of batches, and name what is wrong
[group('look inside')]
[no-exit-message]
audit:
    @python -m svc.wallet.audit

# Say what runs, what is missing and what to do next
[group('look inside')]
[no-exit-message]
doctor:
    @python -m svc doctor

# Stop everything of this checkout and forget its data and keys
[group('look inside')]
[no-exit-message]
reset *args:
    @python -m svc reset "$@"
