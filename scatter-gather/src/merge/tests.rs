//! Proofs about mergers as a whole: the order of arrival does not matter, trees give what one level
//! gives, bounds hold, and no answer panics.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn spec(value: Value) -> MergeSpec {
    let spec: MergeSpec = serde_json::from_value(value).unwrap();
    spec.check().unwrap();
    spec
}

fn piece(index: u32, body: impl Into<Bytes>) -> Piece {
    Piece {
        shard: index.to_string().into(),
        index,
        status: 200,
        content_type: Some("application/json".into()),
        body: body.into(),
        nested: false,
    }
}

fn begin(spec: &MergeSpec) -> Box<dyn Merging> {
    spec.merger().unwrap().init(Bounds::default())
}

fn finish(merging: Box<dyn Merging>) -> Result<Merged, MergeFailure> {
    use futures::FutureExt as _;
    let finished = merging.finish(Duration::from_secs(1)).now_or_never();
    finished.expect("a built-in merger waits for nothing")
}

fn merge(spec: &MergeSpec, pieces: &[Piece]) -> Result<Merged, MergeFailure> {
    let mut merging = begin(spec);
    for piece in pieces {
        merging.push(piece.clone()).unwrap();
    }
    finish(merging)
}

fn text(merged: &Merged) -> &str {
    std::str::from_utf8(&merged.body).unwrap()
}

/// Every built-in, with answers that suit it.
fn all_specs() -> Vec<MergeSpec> {
    [
        json!("concat"),
        json!({"concat":{"pointer":"/hits"}}),
        json!({"top_k":{"pointer":"/hits","score":"/score","key":"/id","k":4,"offset":1}}),
        json!({"top_k":{"pointer":"/hits","score":"/score","k":3,"order":"asc"}}),
        json!({"sum":{"pointer":"/value"}}),
        json!({"min":{"pointer":"/value"}}),
        json!({"max":{"pointer":"/value"}}),
        json!({"count":{"pointer":"/n","of":"/hits"}}),
        json!({"histogram":{"pointer":"/h","bounds":[1.0,2.5],"values":"/values"}}),
        json!({"group_by":{"pointer":"/facets","groups_max":3,"other":"/other"}}),
        json!({"group_by":{"pointer":"/facets","top":2,"other":"/rest/sum"}}),
        json!({"json":{"conflict":"last","arrays":"concat"}}),
        json!("first"),
        json!("majority"),
        json!({"each":[{"top_k":{"pointer":"/hits","score":"/score","key":"/id","k":2}},
            {"group_by":{"pointer":"/facets"}}, {"sum":{"pointer":"/value"}}]}),
    ]
    .into_iter()
    .map(spec)
    .collect()
}

prop_compose! {
    fn answer()(
        hits in prop::collection::vec((0..6_u8, 0..4_u8), 0..6),
        value in prop_oneof![Just(json!(1)), Just(json!(1.0)), Just(json!(0.1)), (-9_i64..9).prop_map(Value::from),
            (-1e9..1e9_f64).prop_map(Value::from)],
        facets in prop::collection::btree_map("[a-e]", 0..9_u32, 0..4),
    ) -> Value {
        let values: Vec<f64> = hits.iter().map(|(_, score)| f64::from(*score)).collect();
        let hits: Vec<Value> = hits.iter().map(|(id, score)| json!({"id": id, "score": score})).collect();
        json!({"hits": hits, "value": value, "facets": facets, "values": values})
    }
}

/// Few different answers, so that some agree.
fn answers() -> impl Strategy<Value = Vec<Value>> {
    (
        prop::collection::vec(answer(), 1..4),
        prop::collection::vec(0..4_usize, 1..8),
    )
        .prop_map(|(pool, picks)| {
            picks
                .into_iter()
                .map(|i| pool[i % pool.len()].clone())
                .collect()
        })
}

proptest! {
    #[test]
    fn the_order_of_arrival_changes_no_byte(answers in answers(), order in any::<u64>()) {
        let pieces: Vec<Piece> =
            (0..).zip(&answers).map(|(i, answer)| piece(i, answer.to_string())).collect();
        let mut shuffled = pieces.clone();
        let mut state = order | 1;
        for i in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(i, usize::try_from(state >> 33).unwrap() % (i + 1));
        }
        for spec in all_specs() {
            prop_assert_eq!(merge(&spec, &pieces), merge(&spec, &shuffled), "{:?}", spec);
        }
    }

    #[test]
    fn a_tree_gives_what_one_level_gives(answers in answers(), cut in 0..8_usize) {
        let pieces: Vec<Piece> =
            (0..).zip(&answers).map(|(i, answer)| piece(i, answer.to_string())).collect();
        let (left, right) = pieces.split_at(cut.min(pieces.len()));
        for spec in all_specs() {
            let mut root = begin(&spec);
            for (index, part) in (0..).zip([left, right]) {
                if part.is_empty() {
                    continue;
                }
                let mut inner = begin(&spec);
                for piece in part {
                    inner.push(piece.clone()).unwrap();
                }
                let partial = inner.partial().unwrap();
                root.push(Piece { nested: true, ..piece(index, partial.body) }).unwrap();
            }
            prop_assert_eq!(finish(root), merge(&spec, &pieces), "{:?}", spec);
        }
    }

    #[test]
    fn no_answer_panics_and_a_refusal_leaves_everything_as_it_was(
        answers in answers(), noise in "[\\[\\]{}\",:0-9a-e.\\-]{0,40}", nested: bool
    ) {
        for spec in all_specs() {
            let mut merging = begin(&spec);
            let mut taken = Vec::new();
            for (i, answer) in (0..).zip(&answers) {
                let good = piece(i, answer.to_string());
                merging.push(good.clone()).unwrap();
                taken.push(good);
                let bad = Piece { nested, ..piece(100 + i, noise.clone()) };
                if merging.push(bad.clone()).is_ok() {
                    taken.push(bad);
                }
            }
            let mut again = begin(&spec);
            for piece in &taken {
                again.push(piece.clone()).unwrap();
            }
            prop_assert_eq!(finish(merging), finish(again), "{:?}", spec);
        }
    }
}

/// What each merger is for, by example.
#[test]
fn by_example() {
    let a = r#"{"hits":[{"id":"x","score":3},{"id":"y","score":1}],"value":1,"facets":{"de":2,"en":1}}"#;
    let b = r#"{"hits":[{"id":"z","score":2},{"id":"x","score":9}],"value":2.5,"facets":{"en":4}}"#;
    let pieces = [piece(0, a), piece(1, b)];
    for (definition, want) in [
        (json!({"sum":{"pointer":"/value"}}), r#"{"value":3.5}"#),
        (json!({"max":{"pointer":"/value"}}), r#"{"value":2.5}"#),
        (json!({"min":{"pointer":"/value"}}), r#"{"value":1}"#),
        (json!({"count":{"pointer":"/answers"}}), r#"{"answers":2}"#),
        (json!({"count":{"pointer":"/n","of":"/hits"}}), r#"{"n":4}"#),
        (
            json!({"group_by":{"pointer":"/facets"}}),
            r#"{"facets":{"de":2,"en":5}}"#,
        ),
        (
            json!({"top_k":{"pointer":"/hits","score":"/score","key":"/id","k":2}}),
            r#"{"hits":[{"id":"x","score":9},{"id":"z","score":2}]}"#,
        ),
        (
            json!({"top_k":{"pointer":"/hits","score":"/score","key":"/id","k":2,"offset":1}}),
            r#"{"hits":[{"id":"z","score":2},{"id":"y","score":1}]}"#,
        ),
        (json!("first"), a),
        (json!({"concat":{"separator":"\n"}}), &format!("{a}\n{b}")),
    ] {
        assert_eq!(text(&merge(&spec(definition), &pieces).unwrap()), want);
    }
    let conflict = merge(&spec(json!("json")), &pieces).unwrap_err();
    assert!(conflict.to_string().contains("\"/"), "{conflict}");
    let none = merge(&spec(json!("majority")), &pieces).unwrap_err();
    assert!(none.to_string().contains("no majority"), "{none}");
    let most = [piece(0, "no"), piece(1, "yes"), piece(2, "yes")];
    assert_eq!(
        text(&merge(&spec(json!("majority")), &most).unwrap()),
        "yes"
    );
}

/// An answer over the bound is refused as such, and the others are merged as if it had never come.
#[test]
fn memory_is_bounded() {
    for definition in [
        json!("concat"),
        json!({"concat":{"pointer":"/a"}}),
        json!("json"),
        json!("first"),
        json!({"majority":{"pointer":"/a"}}),
        json!({"top_k":{"pointer":"/a","score":"","k":10000}}),
        json!({"group_by":{"pointer":"/g","groups_max":100000}}),
    ] {
        let spec = spec(definition);
        let mut merging = spec.merger().unwrap().init(Bounds {
            merge_bytes: 10_000,
        });
        let mut refused = 0;
        // Ever larger and ever earlier, so that even `first` has to take it.
        for i in 1..60_u32 {
            let numbers: Vec<u32> = (i * 100..i * 102).collect();
            let groups: serde_json::Map<String, Value> =
                numbers.iter().map(|n| (n.to_string(), json!(1))).collect();
            let body =
                json!({"a": numbers, "g": groups, "i": i, "pad": "x".repeat(i as usize * 400)});
            if let Err(refusal) = merging.push(piece(1_000 - i, body.to_string())) {
                assert_eq!(refusal.reason, Reason::MergeBytes, "{spec:?}");
                refused += 1;
            }
            assert!(merging.bytes() <= 10_000, "{spec:?}");
        }
        assert!(refused > 0, "{spec:?}");
    }
    // 1,000 answers of a megabyte into the best hundred keep about a hundred elements.
    let spec = spec(json!({"top_k":{"pointer":"/a","score":"/s","k":100}}));
    let mut merging = begin(&spec);
    for i in 0..20 {
        let hits: Vec<Value> = (0..1000)
            .map(|n| json!({"s": n * 20 + i, "pad": "x".repeat(100)}))
            .collect();
        merging
            .push(piece(i, json!({"a": hits}).to_string()))
            .unwrap();
    }
    assert!(merging.bytes() < 100 * 300, "{}", merging.bytes());
}

/// What a definition may not say is refused by name, with what to write.
#[test]
fn bad_definitions_are_refused_by_name() {
    for (definition, told) in [
        (json!("sort"), "unknown merger \"sort\""),
        (json!("sum"), "missing field `pointer`"),
        (json!({}), "it is empty"),
        (json!(3), "expected a merger"),
        (json!({"sum":{"pointer":"value"}}), "JSON pointer"),
        (
            json!({"sum":{"pointer":"/value","colour":1}}),
            "unknown field `colour`",
        ),
        (
            json!({"sum":{"pointer":"/v"},"min":{"pointer":"/v"}}),
            "more than one member",
        ),
        (
            json!({"top_k":{"pointer":"/a","score":"/s","k":0}}),
            "top_k.k",
        ),
        (
            json!({"top_k":{"pointer":"/a","score":"/s","k":9999,"offset":9999}}),
            "top_k.k",
        ),
        (
            json!({"histogram":{"pointer":"/h","bounds":[2.0,1.0]}}),
            "histogram.bounds",
        ),
        (
            json!({"group_by":{"pointer":"/g","other":"/g/x"}}),
            "group_by.other",
        ),
        (json!({"each":[]}), "each"),
        (json!({"each":["first"]}), "cannot stand beside others"),
        (json!({"each":[{"each":[]}]}), "does not nest"),
        (
            json!({"each":[{"sum":{"pointer":"/a"}},{"max":{"pointer":"/a/b"}}]}),
            "place of its own",
        ),
    ] {
        let told_is = match serde_json::from_value::<MergeSpec>(definition.clone()) {
            Ok(spec) => spec.check().unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(told_is.contains(told), "{definition}: {told_is}");
    }
}

/// A definition reads back as it was written.
#[test]
fn definitions_survive_the_way_there_and_back() {
    let mut all = all_specs();
    all.push(spec(json!({"http":"http://127.0.0.1:1/merge"})));
    all.push(spec(
        json!({"http":{"url":"http://127.0.0.1:1/merge","pure":true}}),
    ));
    for spec in all {
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(
            serde_json::from_str::<MergeSpec>(&text).unwrap(),
            spec,
            "{text}"
        );
    }
}

/// A merge container gets one line a shard, in the map's order, JSON as JSON and the rest in base64.
#[test]
fn lines_for_a_merge_container() {
    struct Echo;
    impl MergeCall for Echo {
        fn merge(
            &self,
            lines: Bytes,
            _: Duration,
        ) -> BoxFuture<'static, Result<Merged, MergeFailure>> {
            Box::pin(std::future::ready(Ok(Merged::json(lines))))
        }
    }
    let mut merging = External::new(Arc::new(Echo), false).init(Bounds { merge_bytes: 1_000 });
    merging.push(piece(2, "{\n \"value\" : 1.0 }\n")).unwrap();
    merging
        .push(Piece {
            content_type: Some("text/plain".into()),
            ..piece(1, "hello")
        })
        .unwrap();
    assert!(merging.push(piece(3, "hello")).is_err());
    let refusal = merging
        .push(piece(4, json!("x".repeat(2_000)).to_string()))
        .unwrap_err();
    assert_eq!(refusal.reason, Reason::MergeBytes);
    let want = "{\"shard\":\"1\",\"status\":200,\"content_type\":\"text/plain\",\"body_base64\":\"aGVsbG8=\"}\n\
                {\"shard\":\"2\",\"status\":200,\"body\":{  \"value\" : 1.0 }}\n";
    assert_eq!(text(&finish(merging).unwrap()), want);
}
