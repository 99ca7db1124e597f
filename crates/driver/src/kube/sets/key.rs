//! Hashes what a task asks of the caches. The hash must be the same in every process and version, or environments would be
//! looked for on other sets than those that have them.

use crate::kube::flow::recent_hits::CacheRequest;

/// A hash of a request without its epoch.
pub fn of_request(request: &CacheRequest) -> u64 {
    let mut hash = Fields::default();
    hash.text(request.tenant.as_str());
    hash.texts(&request.python);
    hash.texts(&request.constraints);
    hash.texts(request.version.as_ref().map(ToString::to_string).as_slice());
    hash.text(&request.requires_python);
    hash.texts(&request.system);
    let options = &request.options;
    hash.count(options.hashes.len());
    for (requirement, file) in &options.hashes {
        hash.text(requirement);
        hash.text(file);
    }
    hash.count(usize::from(options.require_hashes));
    hash.count(usize::from(options.pre_releases));
    hash.texts(&options.indexes);
    hash.texts(&options.wheels_only);
    hash.end()
}

/// A hash of a set's name.
pub fn of_name(name: &str) -> u64 {
    let mut hash = Fields::default();
    hash.text(name);
    hash.end()
}

/// Hashes fields with their lengths, so that their borders count.
#[derive(Default)]
struct Fields(blake3::Hasher);

impl Fields {
    fn count(&mut self, count: usize) {
        self.0.update(&(count as u64).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.update(text.as_bytes());
    }

    fn texts(&mut self, texts: &[String]) {
        self.count(texts.len());
        texts.iter().for_each(|text| self.text(text));
    }

    fn end(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0.finalize().as_bytes()[..8]);
        u64::from_le_bytes(first)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use hybrid_cache_model::{TaskSpec, Tenant};

    use super::*;
    use crate::Epoch;

    fn key(change: impl Fn(&mut TaskSpec), epoch: &Epoch, tenant: &str) -> u64 {
        let mut spec = TaskSpec {
            dependencies: "numpy".to_owned(),
            ..TaskSpec::new("print(1)")
        };
        change(&mut spec);
        let tenant: Tenant = tenant.parse().unwrap();
        of_request(&CacheRequest::new(epoch, &tenant, &spec.check().unwrap()))
    }

    #[test]
    fn code_and_epoch_do_not_count_and_everything_else_does() {
        let base = key(|_| {}, &Epoch::Standing, "a");
        let other_code = key(|spec| spec.python_code = "print(2)".to_owned(), &Epoch::Standing, "a");
        assert_eq!(base, other_code);
        assert_eq!(base, key(|_| {}, &Epoch::Fresh("epoch-a".to_owned()), "a"));
        let keys = [
            base,
            key(|_| {}, &Epoch::Standing, "b"),
            key(
                |spec| spec.dependencies = "numpy==2.0".to_owned(),
                &Epoch::Standing,
                "a",
            ),
            key(|spec| spec.dependencies = "num,py".to_owned(), &Epoch::Standing, "a"),
            key(|spec| spec.constraints = "numpy<3".to_owned(), &Epoch::Standing, "a"),
            key(|spec| spec.python_version = "3.12".to_owned(), &Epoch::Standing, "a"),
            key(|spec| spec.system_dependencies = "jq".to_owned(), &Epoch::Standing, "a"),
        ];
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
    }

    #[test]
    fn hashes_stay_the_same_from_version_to_version() {
        let found = (of_name("0"), key(|_| {}, &Epoch::Standing, "a"));
        assert_eq!(found, (18_189_154_537_628_779_546, 17_128_928_478_982_833_565));
    }
}
