//! What `size` tells people: the same facts in every form, and pages that hold.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

use hybrid_cache_report::sizing::SizingReport;
use hybrid_cache_sizing::fleet::{Fleet, compare};
use hybrid_cache_sizing::proof::{Figures, FullStep, Proof, Size, VolumeProof};
use hybrid_cache_sizing::synthetic::{Profile, generate, preset};
use hybrid_cache_sizing::{Event, Targets, Volume, recommend};

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
                form.contains("tasks would wait") || form.contains("largest environment needs"),
                "{form}"
            );
        }
    }
    assert!(text.contains("this is a synthetic trace") && page.contains("this is a synthetic trace"));
    let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    assert_eq!(json["recommendation"]["volumes"][0]["volume"], "python");
    assert!(json["recommendation"]["volumes"][0]["claim"]["gib"].as_u64().unwrap() > 0);
}

#[test]
fn a_target_that_each_volume_reaches_and_both_together_miss_is_reported() {
    let mut report = report(0.7);
    report.recommendation.together.hit_rate = 0.69;
    assert!(
        report
            .terminal()
            .contains("that is below 70.0 %, which each volume reaches by itself")
    );
    report.recommendation.together.hit_rate = 0.71;
    assert!(!report.terminal().contains("by itself"));
}

#[test]
fn a_proof_and_a_fleet_are_in_every_form() {
    let mut report = report(0.7);
    let wrong = Size {
        bytes: 1 << 30,
        is_recommended: true,
        requests: 50,
        of: 50,
        observed: Figures {
            hit_rate: 0.5,
            ..Figures::default()
        },
        ..Size::default()
    };
    let full = FullStep {
        what: "others fill it".to_owned(),
        refused: vec!["no space\nhint: make some".to_owned()],
        ..FullStep::default()
    };
    let proved = VolumeProof {
        volume: "python".to_owned(),
        scale: 0.25,
        recommended_bytes: 1 << 30,
        sizes: vec![wrong],
        full: vec![full],
        ..VolumeProof::default()
    };
    report.proof = Some(Proof {
        volumes: vec![proved],
        ..Proof::default()
    });
    let trace = generate(&preset("team").unwrap());
    let fleet = Fleet::at_rate(4, trace.catalog.volume(Volume::Python).union(), (1, 1.0), None);
    report.fleet.extend(compare(&trace, Volume::Python, &fleet).unwrap());
    for form in [report.terminal(), report.markdown(), report.html()] {
        for part in [
            "does not hold: hit rate",
            "4.0 times smaller",
            "refused: no space; hint: make some",
            "one prediction does not hold",
            "where the environment is",
            "one shared volume",
        ] {
            assert!(form.contains(part), "{part}: {form}");
        }
    }
    let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    assert_eq!(json["proof"]["volumes"][0]["sizes"][0]["observed"]["hit_rate"], 0.5);
    assert_eq!(json["fleet"][0]["placed"].as_array().unwrap().len(), 4);
}

#[test]
fn the_page_is_well_formed_has_its_figures_and_loads_nothing_from_outside() {
    let report = report(0.7);
    let page = report.html();
    std::fs::write(
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("size.html"),
        &page,
    )
    .unwrap();
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
fn an_unreachable_target_is_reported_in_every_form() {
    let report = report(0.9999);
    for form in [report.terminal(), report.markdown(), report.html()] {
        assert!(form.contains("cannot be reached") && form.contains("no size"), "{form}");
    }
}

#[test]
fn a_trace_of_less_than_an_hour_has_no_daily_rates_and_gives_the_reason() {
    let mut trace = generate(&preset("team").unwrap());
    let requests = trace.events.iter_mut().filter_map(|event| match event {
        Event::Request(request) => Some(request),
        Event::Resident(..) => None,
    });
    for (number, request) in (1u64..).zip(requests) {
        request.at_us = number * 10_000;
        request.held_us = 1_000_000;
    }
    let targets = Targets {
        hit: 0.7,
        ..Targets::default()
    };
    let found = recommend(&trace, &targets).unwrap();
    let report = SizingReport::new("a short one".to_owned(), false, Vec::new(), found);
    for form in [report.terminal(), report.markdown(), report.html()] {
        assert!(form.contains("covers less than an hour"), "{form}");
        assert!(
            !form.contains("fetched a day") && !form.contains("longer a day") && !form.contains("requests a day"),
            "{form}"
        );
    }
    let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    let at = &json["recommendation"]["volumes"][0]["at"];
    // How long programs ran is known, so what they delay is reported.
    assert!(at["delayed_evictions"].as_u64().unwrap() <= at["evictions"].as_u64().unwrap());
    assert!(at["evictions"].as_u64().unwrap() > 0);
    assert!(
        at["evictions_per_day"].is_null() && at["wait_s_per_day"].is_null(),
        "{at}"
    );
    let counted = |name: &str| at[name].as_u64().unwrap();
    assert!(counted("delayed_evictions") > 0 && counted("delayed_evictions") <= counted("evictions"));
}
