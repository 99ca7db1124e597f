"""Describes the interpreter that runs it, in the terms of `Interpreter` (crates/model/src/protocol.rs) but for its hash."""
import json
import os
import sys
import sysconfig

print(json.dumps({
    "path": os.path.realpath(sys.executable),
    "implementation": sys.implementation.name,
    "version": ".".join(map(str, sys.version_info[:3])),
    "abi": sys.implementation.cache_tag,
    "platform": sysconfig.get_platform(),
}))
