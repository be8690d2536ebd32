#!/usr/bin/env bash
# redis-py 8.1.0 beside opentelemetry-sdk 1.45.2: `import redis` imports the whole SDK, though the program asks for no telemetry.
#
# Guessed: redis-py's metrics are off until they are switched on, and need its extra; so nothing of OpenTelemetry is loaded.
# Seen: redis/observability/providers.py tries `from opentelemetry.sdk.metrics import MeterProvider` when it is imported, and
# redis/__init__.py leads there. Where the SDK is installed for something else, each `import redis` loads 61 modules of it, and
# psutil, if that is there. What fails in them fails the import of redis, unless it is an ImportError.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-python3}
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --disable-pip-version-check redis==8.1.0
count='import sys, time
began = time.perf_counter()
import redis
took = time.perf_counter() - began
loaded = sum(name.partition(".")[0] == "opentelemetry" for name in sys.modules)
print(loaded > 0, "opentelemetry.sdk.metrics" in sys.modules)
print(f"{loaded} modules of OpenTelemetry, {len(sys.modules)} in all, {took * 1000:.0f} ms", file=sys.stderr)'
without=$("$folder/venv/bin/python" -c "$count")
echo "without the SDK: $without"
"$folder/venv/bin/pip" -q install --disable-pip-version-check opentelemetry-sdk==1.45.2
"$folder/venv/bin/python" -c "$count" > /dev/null 2>&1  # compiles
with=$("$folder/venv/bin/python" -c "$count")
echo "with the SDK: $with"
test "$without" = "False False" && test "$with" = "True True"
