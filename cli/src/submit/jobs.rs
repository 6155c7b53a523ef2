//! From items to jobs.

use super::source::{Item, shorten};
use super::template::{Template, Text};
use bytes::Bytes;
use quorate_work_queue::machine::{BatchId, NewJob, limits};
use std::sync::Arc;

/// What every item becomes.
#[derive(Clone, Debug)]
pub(crate) struct Jobs {
    /// Makes the payload; without one the item itself is it.
    pub(crate) template: Option<Template>,
    /// Makes the dedupe key.
    pub(crate) dedupe: Option<Text>,
    /// Everything that all jobs have in common.
    pub(crate) like: NewJob,
}

impl Jobs {
    /// The jobs of these items and what to call each; in a batch each at the place of its item.
    pub(crate) fn make(
        &self,
        items: &[Item],
        batch: Option<BatchId>,
    ) -> Result<(Vec<NewJob>, Vec<String>), String> {
        items
            .iter()
            .map(|item| {
                let job = self
                    .one(item, batch)
                    .map_err(|error| format!("{}: {error}", item.origin()))?;
                let from = match &item.file {
                    Some(file) => file.path.display().to_string(),
                    None => shorten(&item.text),
                };
                Ok((job, from))
            })
            .collect()
    }

    fn one(&self, item: &Item, batch: Option<BatchId>) -> Result<NewJob, String> {
        let (payload, payload_is_json) = match &self.template {
            Some(template) => template.fill(item)?,
            None => plain(item),
        };
        if payload.len() > limits::PAYLOAD_BYTES_MAX {
            return Err(format!(
                "its payload has {} bytes, the most is {}; put it into a file and submit that with --glob",
                payload.len(),
                limits::PAYLOAD_BYTES_MAX
            ));
        }
        let dedupe_key = self
            .dedupe
            .as_ref()
            .map(|text| text.fill(item))
            .transpose()?;
        Ok(NewJob {
            payload,
            payload_is_json,
            inputs: item
                .file
                .as_ref()
                .and_then(|file| file.blob.clone())
                .into_iter()
                .collect(),
            dedupe_key: dedupe_key.map(Arc::from),
            batch: batch.map(|batch| (batch, item.index)),
            ..self.like.clone()
        })
    }
}

/// The payload of an item without a template.
fn plain(item: &Item) -> (Bytes, bool) {
    match (&item.file, &item.json) {
        (Some(file), _) => {
            let name = file.path.file_name().unwrap_or_default().to_string_lossy();
            let document = serde_json::json!({ "name": name, "path": item.text });
            (Bytes::from(document.to_string()), true)
        }
        (None, json) => (Bytes::copy_from_slice(item.text.as_bytes()), json.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::submit::source::File;
    use quorate_work_queue::machine::Blob;

    fn item(text: &str, json: bool) -> Item {
        Item {
            index: 4,
            text: text.to_owned(),
            json: json.then(|| serde_json::from_str(text).unwrap()),
            file: None,
        }
    }

    fn jobs() -> Jobs {
        Jobs {
            template: None,
            dedupe: Some(Text::parse("k-{item}").unwrap()),
            like: NewJob {
                priority: 3,
                ..NewJob::default()
            },
        }
    }

    #[test]
    fn an_item_keeps_its_bytes_its_place_and_what_all_share() {
        let (made, from) = jobs()
            .make(
                &[item("{\"a\": 1}", true), item("plain", false)],
                Some(BatchId(9)),
            )
            .unwrap();
        assert_eq!(&made[0].payload[..], b"{\"a\": 1}");
        assert!(made[0].payload_is_json && !made[1].payload_is_json);
        assert_eq!(made[1].dedupe_key.as_deref(), Some("k-plain"));
        assert_eq!(made[1].batch, Some((BatchId(9), 4)));
        assert_eq!(made[1].priority, 3);
        assert_eq!(from[1], "plain");
    }

    #[test]
    fn a_file_is_an_input_and_its_name_the_payload() {
        let mut film = item("/in/a.mp4", false);
        let blob = Blob {
            uri: "file:///store/a.mp4".into(),
            sha256: "".into(),
            size: 7,
        };
        film.file = Some(File {
            path: "/in/a.mp4".into(),
            size: 7,
            blob: Some(blob.clone()),
        });
        let (made, from) = jobs().make(&[film], None).unwrap();
        assert_eq!(made[0].inputs, [blob]);
        assert_eq!(
            &made[0].payload[..],
            br#"{"name":"a.mp4","path":"/in/a.mp4"}"#
        );
        assert!(made[0].payload_is_json);
        assert_eq!(from, ["/in/a.mp4"]);
    }

    #[test]
    fn a_payload_that_the_queue_would_refuse_is_refused_with_its_item() {
        let long = "x".repeat(limits::PAYLOAD_BYTES_MAX + 1);
        let error = jobs().make(&[item(&long, false)], None).unwrap_err();
        assert!(
            error.contains("item 4") && error.contains("--glob"),
            "{error}"
        );
    }
}
