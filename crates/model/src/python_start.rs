//! What every Python of a task runs at its start.
//!
//! Python takes about a millisecond longer for a source file than for bytecode, which only the interpreter itself can make.
//! So a driver asks its interpreter once, and the runner writes both: the bytecode counts only if it belongs to the source.

/// The text of `sitecustomize.py`: makes output arrive line by line, and SIGTERM run the program's `finally:`.
pub const SITECUSTOMIZE: &str = include_str!("sitecustomize.py");

/// The text of the `sitecustomize.py` of a Python that waits for its task, without its last line: `raise_if(prepare(LINK, SITE, MODULES))`.
/// It tells over the socket `LINK` whether the modules are imported, and takes one task there. Each message but the last is a length of
/// four bytes, the least significant first, and that many bytes:
///
/// ```text
/// to the runner    `+` and the variables that imports have read, a NUL between two; `*` if they have read all; `-` and why they failed
/// to Python        fields, a NUL between two: `1` if there is standard input, the number of arguments, arguments, names and values
/// to the runner    `.`: the program begins
/// ```
pub const PREPARE: &str = include_str!("prepare.py");

/// A Python program that prints the bytecode file of the module whose text is its first argument, in Base64.
pub const COMPILE: &str = "
import base64, importlib.util, marshal, sys
source = sys.argv[1].encode()
# Flags: the file is valid for a source with this hash.
head = importlib.util.MAGIC_NUMBER + (3).to_bytes(4, 'little') + importlib.util.source_hash(source)
print(base64.b64encode(head + marshal.dumps(compile(source, 'sitecustomize.py', 'exec'))).decode())
";
