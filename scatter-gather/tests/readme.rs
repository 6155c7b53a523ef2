//! Proves that the program in README.md's section on scatter/gather compiles as it stands there. It is not run:
//! its addresses are somebody else's.
#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(dead_code, clippy::print_stdout, reason = "the program is for readers")]

use quorate_scatter_gather::Scatter;
use quorate_scatter_gather::definition::{HedgeSpec, PolicySpec};
use quorate_scatter_gather::merge::MergeSpec;

#[rustfmt::skip]
async fn program() -> Result<(), Box<dyn std::error::Error>> {
    let scatter = Scatter::builder()
        .shard("east", ["http://10.0.0.1:9000", "http://10.0.1.1:9000"])    // replicas; or .shard_of(…) in this process
        .shard("west", ["http://10.0.0.2:9000", "http://10.0.1.2:9000"])
        .policy(PolicySpec::Deadline)
        .hedge(HedgeSpec::quantile(0.95))
        .merge(MergeSpec::sum("/value")?)                                   // or .merger(…), a Merger of one's own
        .build()?;
    let answer = scatter.query(r#"{"q":"needle"}"#).await?;
    println!("{:?}, complete: {}", answer.merged.body, answer.complete);
    Ok(())
}

fn bare(text: &str) -> String {
    text.split_whitespace().collect()
}

#[test]
fn the_program_here_is_the_one_in_the_readme() {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("## Scatter/gather").unwrap();
    let (_, program) = section.split_once("```rust").unwrap();
    let (program, _) = program.split_once("```").unwrap();
    let here = bare(include_str!("readme.rs"));
    for part in program.split("\n\n") {
        assert!(here.contains(&bare(part)), "{part}");
    }
}
