//! Labels as links to the list of their tasks, and the addresses of such lists.

use std::collections::BTreeMap;

use hybrid_cache_api::StateName;
use maud::{Markup, html};

/// The address of a list of tasks.
pub fn address(states: &[StateName], labels: &[(String, String)], cursor: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if !states.is_empty() {
        let names: Vec<&str> = states.iter().map(|state| state.name()).collect();
        query.append_pair("state", &names.join(","));
    }
    for (key, value) in labels {
        query.append_pair("label", &format!("{key}={value}"));
    }
    if let Some(cursor) = cursor {
        query.append_pair("cursor", cursor);
    }
    match query.finish().as_str() {
        "" => "/".to_owned(),
        query => format!("/?{}", query.replace("%2C", ",")),
    }
}

/// The labels of one task; nothing if it has none.
pub fn list(labels: &BTreeMap<String, String>) -> Markup {
    html! {
        @if !labels.is_empty() {
            p class="labels" {
                @for (key, value) in labels {
                    a href=(address(&[], &[(key.clone(), value.clone())], None)) { (key) "=" (value) } " "
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_what_is_filtered_by() {
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(address(&[], &[], None), "/");
        assert_eq!(
            address(
                &[StateName::Queued, StateName::Ended],
                &[label("a.b/c", "x")],
                Some("c2")
            ),
            "/?state=queued,ended&label=a.b%2Fc%3Dx&cursor=c2"
        );
        let shown = list(&BTreeMap::from([label("team", "blue")])).into_string();
        assert!(
            shown.contains("<a href=\"/?label=team%3Dblue\">team=blue</a>"),
            "{shown}"
        );
    }
}
