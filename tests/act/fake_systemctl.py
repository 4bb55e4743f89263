"""systemctl, as far as the actuator uses it, over one JSON file a unit. $FAKE_UNITS names their folder."""

import json
import os
import sys
from pathlib import Path

NOTHING = {
    "ActiveState": "inactive",
    "SubState": "dead",
    "Result": "success",
    "ExecMainStatus": "0",
    "InvocationID": "",
}

folder = Path(os.environ["FAKE_UNITS"])
arguments = [word for word in sys.argv[1:] if not word.startswith("--")]
verb, units = arguments[0], arguments[1:]
with (folder / "calls").open("a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\n")
if (folder / "down").exists():
    sys.exit("System has not been booted with systemd as init system (PID 1). Can't operate.")
if (folder / "mute").exists():
    sys.exit(0)


def state(unit):
    path = folder / unit
    return json.loads(path.read_text()) if path.exists() else dict(NOTHING)


if verb == "show":
    blocks = [{"Id": unit, "LoadState": "loaded", **state(unit)} for unit in units]
    print("\n\n".join("\n".join(f"{key}={value}" for key, value in block.items()) for block in blocks))
for unit in units:
    if verb == "start":
        (folder / unit).write_text(
            json.dumps({**NOTHING, "ActiveState": "active", "InvocationID": os.urandom(8).hex()})
        )
    elif verb == "stop":
        (folder / unit).unlink(missing_ok=True)
    elif verb == "reset-failed" and state(unit)["ActiveState"] == "failed":
        (folder / unit).unlink()
