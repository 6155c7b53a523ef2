//! The types of the API of Kubernetes, with every field that they do not know.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) enum Checked {
    Good,
    Bad(String),
    /// No type for this kind.
    Unknown,
}

pub(crate) fn check(kind: &str, object: &Value) -> Checked {
    let result = match kind {
        "v1 ConfigMap" => typed::<ConfigMap>(object),
        "v1 Namespace" => typed::<Namespace>(object),
        "v1 Service" => typed::<Service>(object),
        "apps/v1 Deployment" => typed::<Deployment>(object),
        "apps/v1 StatefulSet" => typed::<StatefulSet>(object),
        "autoscaling/v2 HorizontalPodAutoscaler" => typed::<HorizontalPodAutoscaler>(object),
        "batch/v1 Job" => typed::<Job>(object),
        "networking.k8s.io/v1 NetworkPolicy" => typed::<NetworkPolicy>(object),
        "policy/v1 PodDisruptionBudget" => typed::<PodDisruptionBudget>(object),
        _ => return Checked::Unknown,
    };
    match result {
        Ok(()) => Checked::Good,
        Err(why) => Checked::Bad(why),
    }
}

fn typed<T: DeserializeOwned>(object: &Value) -> Result<(), String> {
    let mut unknown = Vec::new();
    serde_ignored::deserialize::<_, _, T>(object, |path| unknown.push(path.to_string()))
        .map_err(|error| error.to_string())?;
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(format!("the API knows no {}", unknown.join(", ")))
    }
}
