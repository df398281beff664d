#!/usr/bin/env bash
# Checks the files that configure other tools: they must be valid and agree with .ci/run.
# It needs: pip install check-jsonschema pre-commit validate-pyproject trove-classifiers
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "check_configs.sh: $*" >&2; exit 1; }

check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' softdp/_version.py)
grep -qx "version: $version" CITATION.cff || fail "CITATION.cff does not have softdp's version $version"
pre-commit validate-config .pre-commit-config.yaml
VALIDATE_PYPROJECT_NO_NETWORK=1 validate-pyproject pyproject.toml

# pre-commit and CI must run the same versions of ruff and clang-format.
for tool in ruff clang-format; do
  version=$(grep -A1 -E "/(${tool}-pre-commit|mirrors-${tool})\$" .pre-commit-config.yaml | sed -n 's/.*rev: v//p')
  grep -q "\"$tool==$version\"" .ci/run || fail ".ci/run does not install $tool==$version, which pre-commit runs"
done

# CONTRIBUTING.md must name the version of mypy that CI runs.
version=$(sed -n 's/.*"mypy==\([0-9.]*\)".*/\1/p' .ci/run)
grep -q "mypy==$version " CONTRIBUTING.md || fail "CONTRIBUTING.md does not install mypy==$version, which .ci/run does"

# The stages of the workflows must be stages of .ci/run.
for stage in $(sed -n 's/.*stage: \[\(.*\)\]/\1/p' .github/workflows/*.yml | tr -d ' ' | tr ',' '\n'); do
  grep -q "^stage_$stage()" .ci/run || fail ".ci/run has no stage $stage, which a workflow runs"
done
