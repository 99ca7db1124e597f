//! What `size` tells people: the same facts in every form, and pages that hold.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

use hybrid_cache_report::sizing::SizingReport;
use hybrid_cache_sizing::synthetic::{Profile, generate, preset};
use hybrid_cache_sizing::{Targets, recommend};

fn report(hit: f64) -> SizingReport {
    let profile = Profile {
        days: 9,
        ..preset("team").unwrap()
    };
    let found = recommend(
        &generate(&profile),
        &Targets {
            hit,
            ..Targets::default()
        },
    )
    .unwrap();
    let warnings = vec!["line 3: <b>odd</b> & \u{1b}[31mred".to_owned()];
    SizingReport::new("the synthetic trace <team>".to_owned(), true, warnings, found)
}

#[test]
fn every_form_says_what_to_order_and_why() {
    let report = report(0.7);
    let (text, markdown, page) = (report.terminal(), report.markdown(), report.html());
    for advice in &report.recommendation.volumes {
        let order = format!("order {} GiB for", advice.claim.gib);
        for form in [&text, &markdown, &page] {
            assert!(form.contains(&order), "{form}");
            assert!(
                form.contains("less tasks wait") || form.contains("largest environment needs"),
                "{form}"
            );
        }
    }
    assert!(text.contains("nobody recorded this trace") && page.contains("nobody recorded this trace"));
    let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    assert_eq!(json["recommendation"]["volumes"][0]["volume"], "python");
    assert!(json["recommendation"]["volumes"][0]["claim"]["gib"].as_u64().unwrap() > 0);
}

#[test]
fn the_page_is_whole_has_its_figures_and_takes_nothing_from_outside() {
    let report = report(0.7);
    let page = report.html();
    // Void elements are not closed in HTML; everything else is well-formed.
    let body = &page[page.find("<body>").unwrap()..page.find("</html>").unwrap()];
    let document = roxmltree::Document::parse(body).unwrap();
    let named = |name: &'static str| {
        document
            .descendants()
            .filter(move |node| node.has_tag_name(name))
            .count()
    };
    assert_eq!(named("polyline"), report.recommendation.volumes.len() * 2);
    for link in ["http:", "https:", "src=", "<script", "url(http"] {
        assert!(!page.contains(link), "{link}");
    }
    assert!(!page.contains("<team>") && !page.contains("<b>") && page.contains("&lt;b&gt;odd"));
    assert!(!report.terminal().contains('\u{1b}') && !report.markdown().contains("<b>"));
}

#[test]
fn a_target_out_of_reach_is_told_in_every_form() {
    let report = report(0.9999);
    for form in [report.terminal(), report.markdown(), report.html()] {
        assert!(form.contains("cannot be reached") && form.contains("no size"), "{form}");
    }
}
