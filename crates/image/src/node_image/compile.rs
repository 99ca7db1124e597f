//! Compiles the components: static programs from pinned Go modules, checked against go.sum.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hybrid_cache_tools::{ErrorContext, Result, failed};
use xshell::{Shell, cmd};

use super::command;
use super::context::BuildContext;
use super::pins::Component;

/// The copy of a component's modules, while it is compiled from one.
const SOURCE: &str = ".source";

/// Compiles a component if that is not done yet, and returns the folder of its programs.
///
/// # Errors
/// Go cannot fetch a module, a digest differs, or it does not compile.
pub fn component(context: &BuildContext<'_>, component: &Component) -> Result<PathBuf> {
    let identity = context.component_identity(component)?;
    context.dir.product(&component.name, &identity, |staging| {
        let part = format!("compile {} {}", component.name, component.version);
        context.making(&part, || compile(context, component, staging))
    })
}

fn compile(context: &BuildContext<'_>, component: &Component, staging: &Path) -> Result<()> {
    let shell = go_shell(context, &component.name)?;
    let source = staging.join(SOURCE);
    let modules = if component.links.is_empty() {
        "readonly"
    } else {
        vendor(&shell, component, &source)?;
        "vendor"
    };
    let tags = component.tags.join(",");
    let mut linker = String::from("-s -w");
    for (variable, text) in &component.define {
        linker.push_str(&format!(" -X {variable}={text}"));
    }
    let packages = component.programs.values();
    // A folder as output: Go names each program after its package.
    let command = cmd!(
        shell,
        "go build -mod={modules} -trimpath -buildvcs=false -tags={tags} -ldflags={linker} -o {staging}/ {packages...}"
    );
    command::run(command, &format!("compiling {}", component.name))?;
    for (program, package) in &component.programs {
        let made = staging.join(go_name(package));
        fs::rename(&made, staging.join(program)).with_context(|| format!("go did not make {}", made.display()))?;
    }
    if source.exists() {
        fs::remove_dir_all(&source).with_context(|| format!("cannot remove {}", source.display()))?;
    }
    Ok(())
}

/// Copies all sources of a component into a folder, checked against go.sum, adds the links that its module has lost, and
/// leaves the shell there. For a module in its cache, Go accepts no other files.
fn vendor(shell: &Shell, component: &Component, folder: &Path) -> Result<()> {
    let module = component.module.as_deref().context("it is not a module")?;
    fs::create_dir(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for name in ["go.mod", "go.sum"] {
        let pinned = shell.current_dir().join(name);
        fs::copy(&pinned, folder.join(name)).with_context(|| format!("cannot copy {}", pinned.display()))?;
    }
    shell.change_dir(folder);
    command::run(
        cmd!(shell, "go mod vendor"),
        &format!("copying the sources of {}", component.name),
    )?;
    add_links(&folder.join("vendor").join(module), &component.links)
}

/// Replaces each link by a copy of the file that it points to.
fn add_links(module: &Path, links: &BTreeMap<String, String>) -> Result<()> {
    for (place, to) in links {
        let link = module.join(place);
        if link.exists() {
            return Err(failed!(
                "the module already has {place}\nhint: delete this link from {}",
                super::pins::FILE
            ));
        }
        let target = link.with_file_name(to);
        fs::copy(&target, &link).with_context(|| format!("cannot copy {to} to {place} in the module"))?;
    }
    Ok(())
}

/// The folder of a component's module, after Go has checked its files.
///
/// # Errors
/// Go cannot fetch the module.
pub fn module_folder(context: &BuildContext<'_>, component: &Component) -> Result<PathBuf> {
    let shell = go_shell(context, &component.name)?;
    let module = component.module.as_deref().context("it is not a module")?;
    let format = "{{.Dir}}";
    command::run(cmd!(shell, "go mod download {module}"), &format!("fetching {module}"))?;
    let folder = command::run(
        cmd!(shell, "go list -mod=readonly -m -f {format} {module}"),
        &format!("looking for {module}"),
    )?;
    Ok(PathBuf::from(folder))
}

/// A shell in the component's folder. What the machine sets for Go in general stays, above all the module proxy; what
/// would make other programs of the same pins does not.
fn go_shell(context: &BuildContext<'_>, component: &str) -> Result<Shell> {
    let shell = Shell::new()?;
    shell.change_dir(context.files_folder.join(component));
    shell.set_var("GOTOOLCHAIN", &context.pins.toolchain);
    shell.set_var("GOCACHE", context.dir.path("go-cache"));
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

    #[test]
    fn a_link_becomes_what_it_points_to_and_none_takes_the_place_of_a_file() {
        let module = tempfile::tempdir().unwrap();
        let folder = module.path().join("signal");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("darwin.go"), "package signal").unwrap();
        let links = |to: &str| BTreeMap::from([("signal/linux.go".to_owned(), to.to_owned())]);
        let lost = add_links(module.path(), &links("windows.go")).unwrap_err().to_string();
        assert!(
            lost.contains("signal/linux.go") && lost.contains("windows.go"),
            "{lost}"
        );
        add_links(module.path(), &links("darwin.go")).unwrap();
        assert_eq!(fs::read_to_string(folder.join("linux.go")).unwrap(), "package signal");
        let there = add_links(module.path(), &links("darwin.go")).unwrap_err().to_string();
        assert!(there.contains("already has signal/linux.go"), "{there}");
    }
}
