//! The house rules hold for the whole workspace.
#![allow(clippy::expect_used, reason = "a test may fail loudly")]

#[test]
fn the_house_is_tidy() {
    let findings = xtask::tidy::check_tree(&xtask::root()).expect("the workspace can be read");
    let shown: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(shown.is_empty(), "{} findings:\n{}", shown.len(), shown.join("\n"));
}

#[test]
fn the_tree_is_really_read() {
    let folder = std::env::temp_dir().join(format!("evenkeel-tidy-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("crates/evenkeel-core/src")).expect("a folder");
    let file = folder.join("crates/evenkeel-core/src/lib.rs");
    std::fs::write(&file, "use tokio::net;\n").expect("a file");
    let findings = xtask::tidy::check_tree(&folder);
    std::fs::remove_dir_all(&folder).expect("the folder goes");
    let rules: Vec<_> = findings.expect("readable").iter().map(|f| f.rule.name()).collect();
    assert_eq!(rules, ["unsafe", "pure"]);
}
