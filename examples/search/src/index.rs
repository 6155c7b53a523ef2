//! An index over some documents, by tantivy.
//!
//! A hit's score is how often the words asked for stand in the document, by the square root of its
//! length. It depends on the document alone: scores that depend on how rare a word is in the index, such
//! as BM25, differ from shard to shard and could not be merged as they are.

use crate::corpus::Document;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tantivy::collector::DocSetCollector;
use tantivy::query::QueryParser;
use tantivy::schema::{Field, STORED, STRING, Schema, TEXT, Value as _};
use tantivy::{Index, IndexReader, IndexWriter, TantivyDocument, doc};

/// Memory of the writer, the least that tantivy takes.
const WRITER_BYTES: usize = 15_000_000;

/// Documents that can be searched.
pub struct Searchable {
    index: Index,
    reader: IndexReader,
    id: Field,
    license: Field,
    body: Field,
}

/// A document found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// Its name.
    pub id: String,
    /// The larger the better.
    pub score: f64,
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The best, best first.
    pub hits: Vec<Hit>,
    /// Documents found by licence.
    pub facets: BTreeMap<String, u64>,
    /// Documents found.
    pub total: u64,
}

impl Searchable {
    /// Indexes documents in memory.
    pub fn build(documents: &[Document]) -> Result<Self> {
        let mut schema = Schema::builder();
        let id = schema.add_text_field("id", STRING | STORED);
        let license = schema.add_text_field("license", STRING | STORED);
        let body = schema.add_text_field("body", TEXT | STORED);
        let index = Index::create_in_ram(schema.build());
        let mut writer: IndexWriter = index.writer_with_num_threads(1, WRITER_BYTES)?;
        for document in documents {
            writer.add_document(doc!(
                id => document.id.as_str(), license => document.license.as_str(), body => document.body.as_str()
            ))?;
        }
        writer.commit()?;
        Ok(Self {
            reader: index.reader()?,
            index,
            id,
            license,
            body,
        })
    }

    /// The best `k` documents that have all the words.
    pub fn search(&self, words: &str, k: usize) -> Result<Found> {
        let searcher = self.reader.searcher();
        let mut parser = QueryParser::for_index(&self.index, vec![self.body]);
        parser.set_conjunction_by_default();
        let query = parser
            .parse_query(words)
            .context("the query cannot be read")?;
        let wanted: Vec<String> = tokens(words).collect();
        let mut found = Found::default();
        for address in searcher.search(&query, &DocSetCollector)? {
            let document: TantivyDocument = searcher.doc(address)?;
            let text = |field| {
                let value = document.get_first(field).and_then(|value| value.as_str());
                value.unwrap_or_default().to_owned()
            };
            let body: Vec<String> = tokens(&text(self.body)).collect();
            let times = body.iter().filter(|token| wanted.contains(token)).count();
            #[allow(clippy::cast_precision_loss, reason = "counts of words")]
            let score = times as f64 / (body.len().max(1) as f64).sqrt();
            // So many digits come back from JSON as they were, whoever reads it.
            let score = (score * 1e6).round() / 1e6;
            *found.facets.entry(text(self.license)).or_default() += 1;
            found.total += 1;
            found.hits.push(Hit {
                id: text(self.id),
                score,
            });
        }
        found
            .hits
            .sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
        found.hits.truncate(k);
        Ok(found)
    }
}

fn tokens(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !c.is_alphanumeric());
    words.filter(|word| !word.is_empty()).map(str::to_lowercase)
}
