//! Proves that every overlay under deploy/kubernetes renders, that each object is what the API of Kubernetes takes (a
//! misspelt field would be dropped there in silence), and that it keeps the rules we tell operators to keep.
#![allow(clippy::unwrap_used, reason = "a test")]

mod api;
mod policy;
mod render;

use std::collections::BTreeSet;

/// Kinds of other projects, whose types we have not: rendered, but not checked.
const UNCHECKED: &[&str] = &[
    "keda.sh/v1alpha1 ScaledObject",
    "keda.sh/v1alpha1 TriggerAuthentication",
];

#[test]
fn every_object_is_what_the_api_takes() {
    let mut unchecked = BTreeSet::new();
    for (overlay, objects) in render::overlays() {
        assert!(!objects.is_empty(), "{overlay} renders nothing");
        for object in objects {
            let kind = render::kind(&object);
            match api::check(&kind, &object) {
                api::Checked::Good => {}
                api::Checked::Bad(why) => panic!("{overlay}: {}: {why}", render::title(&object)),
                api::Checked::Unknown => {
                    assert!(
                        UNCHECKED.contains(&kind.as_str()),
                        "{overlay}: nobody checks {kind}"
                    );
                    unchecked.insert(kind);
                }
            }
        }
    }
    // The list is no place for what no longer exists.
    assert_eq!(
        unchecked.iter().map(String::as_str).collect::<Vec<_>>(),
        UNCHECKED
    );
}

#[test]
fn every_object_keeps_the_rules() {
    for (overlay, objects) in render::overlays() {
        let broken = policy::broken(&objects);
        assert!(broken.is_empty(), "{overlay}:\n  {}", broken.join("\n  "));
    }
}

/// The checks themselves can fail: each rule, broken once in a good pod, is named.
#[test]
fn a_broken_rule_is_named() {
    let rendered = render::overlays();
    if rendered.is_empty() {
        return;
    }
    let (_, objects) = rendered
        .into_iter()
        .find(|(overlay, _)| overlay == "work-queue")
        .unwrap();
    let set = objects
        .iter()
        .position(|o| o["kind"] == "StatefulSet")
        .unwrap();
    let container = "/spec/template/spec/containers/0";
    let cases = [
        (
            "/spec/template/spec/securityContext/runAsNonRoot".to_owned(),
            "false",
            "non-root",
        ),
        (
            format!("{container}/securityContext/readOnlyRootFilesystem"),
            "false",
            "read-only",
        ),
        (
            format!("{container}/securityContext/capabilities"),
            "{}",
            "capabilities",
        ),
        (format!("{container}/resources/limits"), "{}", "limit"),
        (
            format!("{container}/livenessProbe"),
            "null",
            "livenessProbe",
        ),
        (
            format!("{container}/image"),
            "\"quorate/work-queue:latest\"",
            "moving tag",
        ),
        (
            format!("{container}/image"),
            "\"quorate/work-queue\"",
            "moving tag",
        ),
        (
            format!("{container}/env/0/name"),
            "\"QUORATE_LISTN\"",
            "QUORATE_LISTN",
        ),
        (
            "/spec/template/spec/enableServiceLinks".to_owned(),
            "true",
            "service links",
        ),
        (
            "/spec/selector/matchLabels/app.kubernetes.io~1name".to_owned(),
            "\"x\"",
            "selects",
        ),
    ];
    for (pointer, value, expected) in cases {
        let mut objects = objects.clone();
        *objects[set]
            .pointer_mut(&pointer)
            .unwrap_or_else(|| panic!("{pointer}")) = serde_json::from_str(value).unwrap();
        let broken = policy::broken(&objects);
        assert!(
            broken.iter().any(|rule| rule.contains(expected)),
            "{pointer} = {value}: {broken:?}"
        );
    }
    let mut misspelt = objects[set].clone();
    misspelt["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = serde_json::json!({});
    assert!(matches!(
        api::check("apps/v1 StatefulSet", &misspelt),
        api::Checked::Bad(why) if why.contains("readynessProbe")
    ));
}
