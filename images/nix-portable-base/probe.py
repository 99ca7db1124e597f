"""Describes the interpreter that runs it, in the terms of `Interpreter` (crates/model/src/protocol.rs) but for its hash."""
import json
import os
import sys
import sysconfig

try:
    libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
except (ValueError, OSError):
    libc = ""
print(json.dumps({
    "path": os.path.realpath(sys.executable),
    "implementation": sys.implementation.name,
    "version": ".".join(map(str, sys.version_info[:3])),
    "abi": sys.implementation.cache_tag,
    "platform": sysconfig.get_platform(),
    "libc": libc,
}))
