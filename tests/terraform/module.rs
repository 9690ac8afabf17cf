//! The files of one module, read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use hcl_edit::structure::{Block, Body};

use crate::schema::label;

/// A folder of Terraform files.
pub(crate) struct Module {
    pub(crate) folder: String,
    /// Name and content of each file.
    pub(crate) files: Vec<(String, Body)>,
    /// What can be referred to: `var.x`, `local.x`, `module.x`, `data.TYPE.x`, `TYPE.x`.
    pub(crate) names: BTreeSet<String>,
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("terraform")
}

impl Module {
    pub(crate) fn read(folder: &str) -> Self {
        let mut files = Vec::new();
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "tf") {
                let text = fs::read_to_string(&path).unwrap();
                let body = text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                files.push((path.file_name().unwrap().to_str().unwrap().to_owned(), body));
            }
        }
        assert!(!files.is_empty(), "no files in {folder}");
        files.sort_by(|one, other| one.0.cmp(&other.0));
        let mut module = Self { folder: folder.to_owned(), files, names: BTreeSet::new() };
        let names: Vec<String> = module.blocks().flat_map(declared).collect();
        for name in names {
            assert!(module.names.insert(name.clone()), "{name} is declared twice in {folder}");
        }
        module
    }

    /// All blocks at the top of the files.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.files.iter().flat_map(|(_, body)| body.blocks())
    }

    /// Those of one kind.
    pub(crate) fn of(&self, kind: &str) -> impl Iterator<Item = &Block> {
        self.blocks().filter(move |block| block.ident.as_str() == kind)
    }
}

fn declared(block: &Block) -> Vec<String> {
    match block.ident.as_str() {
        "variable" => vec![format!("var.{}", label(block, 0))],
        "locals" => block.body.attributes().map(|local| format!("local.{}", local.key.as_str())).collect(),
        "module" => vec![format!("module.{}", label(block, 0))],
        "resource" => vec![format!("{}.{}", label(block, 0), label(block, 1))],
        "data" => vec![format!("data.{}.{}", label(block, 0), label(block, 1))],
        _ => Vec::new(),
    }
}
