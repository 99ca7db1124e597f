//! Compiles the components: static programs from pinned Go modules, checked against go.sum.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use super::Site;
use super::outside;
use super::pins::Component;

/// Compiles a component where that is not done yet, and returns the folder of its programs.
///
/// # Errors
/// Go cannot fetch a module, a digest differs, or it does not compile.
pub fn component(site: &Site, component: &Component) -> Result<PathBuf> {
    let identity = site.component_identity(component)?;
    site.work.product(&component.name, &identity, |staging| {
        let part = format!("compile {} {}", component.name, component.version);
        site.talk.making(&part, || compile(site, component, staging))
    })
}

fn compile(site: &Site, component: &Component, staging: &Path) -> Result<()> {
    let shell = go_shell(site, &component.name)?;
    let tags = component.tags.join(",");
    let mut linker = String::from("-s -w");
    for (variable, text) in &component.define {
        linker.push_str(&format!(" -X {variable}={text}"));
    }
    let packages = component.programs.values();
    // A folder as output: Go names each program after its package.
    let command = cmd!(
        shell,
        "go build -mod=readonly -trimpath -buildvcs=false -tags={tags} -ldflags={linker} -o {staging}/ {packages...}"
    );
    outside::run(command, &format!("compiling {}", component.name))?;
    for (program, package) in &component.programs {
        let made = staging.join(go_name(package));
        fs::rename(&made, staging.join(program)).with_context(|| format!("go did not make {}", made.display()))?;
    }
    Ok(())
}

/// Where the files of a component's module lie, after Go has checked them.
///
/// # Errors
/// Go cannot fetch the module.
pub fn module_folder(site: &Site, component: &Component) -> Result<PathBuf> {
    let shell = go_shell(site, &component.name)?;
    let module = component.module.as_deref().context("it is no module")?;
    let format = "{{.Dir}}";
    outside::run(cmd!(shell, "go mod download {module}"), &format!("fetching {module}"))?;
    let folder = outside::run(
        cmd!(shell, "go list -mod=readonly -m -f {format} {module}"),
        &format!("looking for {module}"),
    )?;
    Ok(PathBuf::from(folder))
}

/// A shell in the component's folder. What the machine sets for Go in general stays, above all the module proxy; what
/// would make other programs of the same pins does not.
fn go_shell(site: &Site, component: &str) -> Result<Shell> {
    let shell = Shell::new()?;
    shell.change_dir(site.files_folder.join(component));
    shell.set_var("GOTOOLCHAIN", &site.pins.toolchain);
    shell.set_var("GOCACHE", site.work.path("go-cache"));
    shell.set_var("CGO_ENABLED", "0");
    for unset in ["GOFLAGS", "GOEXPERIMENT", "GOOS", "GOARCH", "GOAMD64", "GOARM64"] {
        shell.set_var(unset, "");
    }
    shell.set_var("GOWORK", "off");
    Ok(shell)
}

/// What `go build` calls the program of a package: its last part, without the part that is a major version.
fn go_name(package: &str) -> &str {
    let is_version = |part: &str| {
        part.strip_prefix('v')
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
    };
    let mut parts = package.rsplit('/');
    let last = parts.next().unwrap_or_default();
    if is_version(last) {
        parts.next().unwrap_or(last)
    } else {
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_under_the_name_that_go_gives_them() {
        assert_eq!(go_name("k8s.io/kubernetes/cmd/kubelet"), "kubelet");
        assert_eq!(go_name("go.etcd.io/etcd/server/v3"), "server");
        assert_eq!(go_name("example/video"), "video");
    }
}
