//! Lets build tools find the libraries that the task asked for, and none of the machine's: a compiler from the store cannot use
//! those, and another machine has others.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Settings for CMake. The C library's own libraries are below the compiler's sysroot. Each `try_compile` reads this file again,
/// so the compiler is asked once.
const TOOLCHAIN: &str = r#"set(CMAKE_FIND_USE_CMAKE_SYSTEM_PATH FALSE)
if(NOT DEFINED ENV{HYBRID_CACHE_SYSROOT})
  execute_process(COMMAND cc -print-sysroot OUTPUT_VARIABLE sysroot ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
  set(ENV{HYBRID_CACHE_SYSROOT} "${sysroot}")
endif()
if(NOT "$ENV{HYBRID_CACHE_SYSROOT}" STREQUAL "")
  list(APPEND CMAKE_PREFIX_PATH "$ENV{HYBRID_CACHE_SYSROOT}/usr")
endif()
"#;

/// The file with these settings.
pub fn toolchain(scratch: &Path) -> PathBuf {
    scratch.join("system.cmake")
}

/// Writes them for a task with system packages.
///
/// # Errors
/// The file cannot be written.
pub fn write_toolchain(scratch: &Path) -> io::Result<()> {
    fs::write(toolchain(scratch), TOOLCHAIN)
}

/// The variables that pkg-config and CMake read, for a task with these system packages.
pub fn variables(system: &[String], scratch: &Path) -> Vec<(String, String)> {
    if system.is_empty() {
        return Vec::new();
    }
    let folders = ["lib/pkgconfig", "share/pkgconfig"].into_iter();
    let descriptions = folders.flat_map(|folder| system.iter().map(move |path| format!("{path}/{folder}")));
    let descriptions: Vec<String> = descriptions.collect();
    [
        ("CMAKE_TOOLCHAIN_FILE", toolchain(scratch).display().to_string()),
        ("CMAKE_PREFIX_PATH", system.join(":")),
        // In place of the folders that pkg-config was built with, which are the machine's.
        ("PKG_CONFIG_LIBDIR", descriptions.join(":")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_tools_look_only_below_what_was_asked_for() {
        let system = ["/nix/store/a-zlib".to_owned(), "/nix/store/b-gcc".to_owned()];
        let found = variables(&system, Path::new("/s"));
        let expected = [
            ("CMAKE_TOOLCHAIN_FILE", "/s/system.cmake"),
            ("CMAKE_PREFIX_PATH", "/nix/store/a-zlib:/nix/store/b-gcc"),
            (
                "PKG_CONFIG_LIBDIR",
                "/nix/store/a-zlib/lib/pkgconfig:/nix/store/b-gcc/lib/pkgconfig:\
                 /nix/store/a-zlib/share/pkgconfig:/nix/store/b-gcc/share/pkgconfig",
            ),
        ];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(variables(&[], Path::new("/s")), []);
    }
}
