//! The rules: Pod Security *restricted* and what else keeps a cluster safe to operate.

use super::render::title;
use quorate_core::runtime::settings::DEFINITIONS;
use serde_json::Value;
use std::collections::BTreeMap;

type Labels = BTreeMap<String, String>;

/// Every rule that is broken, each in a sentence.
pub(crate) fn broken(objects: &[Value]) -> Vec<String> {
    let mut broken = Vec::new();
    let pods: Vec<Labels> = objects
        .iter()
        .filter_map(|object| object.pointer("/spec/template/metadata/labels"))
        .map(labels)
        .collect();
    for object in objects {
        let mut say = |what: &str| broken.push(format!("{}: {what}", title(object)));
        match object["kind"].as_str().unwrap_or_default() {
            "ConfigMap" => known_variables(&object["data"], &mut say),
            "Service" => selects(&object["spec"]["selector"], &pods, &mut say),
            "PodDisruptionBudget" => {
                selects(&object["spec"]["selector"]["matchLabels"], &pods, &mut say);
            }
            "NetworkPolicy" => {
                selects(
                    &object["spec"]["podSelector"]["matchLabels"],
                    &pods,
                    &mut say,
                );
            }
            "Deployment" | "StatefulSet" => {
                let own = [labels(&object["spec"]["template"]["metadata"]["labels"])];
                selects(&object["spec"]["selector"]["matchLabels"], &own, &mut say);
                pod(object, &mut say);
            }
            "Job" => pod(object, &mut say),
            _ => {}
        }
    }
    broken
}

fn labels(object: &Value) -> Labels {
    object
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// A selector that names no pod of the overlay protects nothing.
fn selects(selector: &Value, pods: &[Labels], say: &mut impl FnMut(&str)) {
    let wanted = labels(selector);
    let hits = |pod: &Labels| {
        wanted
            .iter()
            .all(|(key, value)| pod.get(key) == Some(value))
    };
    if wanted.is_empty() || !pods.iter().any(hits) {
        say("its selector selects none of its pods");
    }
}

fn known_variables(data: &Value, say: &mut impl FnMut(&str)) {
    for name in data.as_object().into_iter().flatten().map(|(key, _)| key) {
        variable(name, say);
    }
}

fn variable(name: &str, say: &mut impl FnMut(&str)) {
    if name.starts_with("QUORATE_") && !DEFINITIONS.iter().any(|row| row.env == name && row.built) {
        say(&format!("{name} is no setting"));
    }
}

fn pod(object: &Value, say: &mut impl FnMut(&str)) {
    let spec = &object["spec"]["template"]["spec"];
    let security = &spec["securityContext"];
    if security["runAsNonRoot"] != true || security["runAsUser"] != 65532 {
        say("it does not run as the non-root user 65532");
    }
    if security["seccompProfile"]["type"] != "RuntimeDefault" {
        say("no seccomp profile");
    }
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        if spec[host] == true {
            say(host);
        }
    }
    if spec["enableServiceLinks"] != false {
        say("service links would put variables of other services into the settings");
    }
    if spec["automountServiceAccountToken"] != false {
        say("a token of the API of Kubernetes, which nothing here needs");
    }
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        if !volume["hostPath"].is_null() {
            say("a path of the machine");
        }
    }
    let grace_s = spec["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
    for (list, stays) in [("initContainers", true), ("containers", false)] {
        for container in spec[list].as_array().into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or("nameless").to_owned();
            let mut say = |what: &str| say(&format!("container {name}: {what}"));
            let sidecar = container["restartPolicy"] == "Always";
            if stays && !sidecar {
                say("an init container that ends is none of ours");
            }
            self::container(container, &mut say);
            let serves = container["ports"]
                .as_array()
                .is_some_and(|ports| !ports.is_empty());
            if serves {
                for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                    if container[probe].is_null() {
                        say(&format!("no {probe}"));
                    }
                }
            }
            for (key, value) in environment(container) {
                variable(&key, &mut say);
                if key == "QUORATE_SHUTDOWN_GRACE_MS"
                    && value.parse::<u64>().is_ok_and(|ms| ms > grace_s * 1000)
                {
                    say("its drain may take longer than Kubernetes waits");
                }
            }
        }
    }
}

fn environment(container: &Value) -> Vec<(String, String)> {
    container["env"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|pair| {
            let text = |key: &str| pair[key].as_str().unwrap_or_default().to_owned();
            (text("name"), text("value"))
        })
        .collect()
}

fn container(container: &Value, say: &mut impl FnMut(&str)) {
    let security = &container["securityContext"];
    if security["readOnlyRootFilesystem"] != true {
        say("its root is not read-only");
    }
    if security["allowPrivilegeEscalation"] != false || security["privileged"] == true {
        say("it may gain privileges");
    }
    if security["capabilities"]["drop"] != serde_json::json!(["ALL"]) {
        say("it keeps capabilities");
    }
    for (list, keys) in [
        ("requests", ["cpu", "memory"].as_slice()),
        ("limits", &["memory"]),
    ] {
        for key in keys {
            if container["resources"][list][key].is_null() {
                say(&format!("no {key} among its {list}, or no limit at all"));
            }
        }
    }
    let image = container["image"].as_str().unwrap_or_default();
    let tag = image.rsplit_once(':').map(|(_, tag)| tag);
    let fixed = image.contains("@sha256:")
        || tag.is_some_and(|tag| {
            tag.split('.').count() == 3
                && tag
                    .split('.')
                    .all(|part| part.bytes().next().is_some_and(|b| b.is_ascii_digit()))
        });
    if !fixed {
        say(&format!("a moving tag: {image}"));
    }
}
