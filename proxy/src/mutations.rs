//! Seeded mutations of the corpus (`proxy/corpus`), for the tests of everything that reads what strangers send. Known to tests alone.
//! `PENSTOCK_MUTATIONS` and `PENSTOCK_MUTATION_SEED` ask for more than an ordinary run; `.ci/mutate` does so without end.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::path::Path;

use crate::balance::Chance;

/// Mutations of an ordinary run: a few seconds in a debug build.
const MUTATIONS: u64 = 3_000;

/// What a mutation may insert: what framing is made of.
const WORDS: [&[u8]; 16] = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\0",
    b":",
    b";",
    b",",
    b"0",
    b"Content-Length: 3\r\n",
    b"\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: web\r\n",
    b"0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: web\r\n\r\n",
];

/// Name and bytes of each file of a folder of the corpus.
pub(crate) fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    assert!(files.len() > 5, "{} has the corpus", folder.display());
    files
}

fn environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
}

/// Mutations of the corpus below `folders`, in the order of the seed.
pub(crate) fn mutations(folders: &[&str]) -> impl Iterator<Item = Vec<u8>> {
    let corpus: Vec<Vec<u8>> =
        folders.iter().flat_map(|folder| files(folder)).map(|(_, bytes)| bytes).collect();
    let mut chance = Chance::seeded(environment("PENSTOCK_MUTATION_SEED", 1));
    (0..environment("PENSTOCK_MUTATIONS", MUTATIONS)).map(move |_| mutated(&corpus, &mut chance))
}

fn mutated(corpus: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut below = |bound: usize| usize::try_from(chance.below(bound.max(1) as u64)).unwrap();
    let mut bytes = corpus[below(corpus.len())].clone();
    if below(4) == 0 {
        bytes.extend_from_slice(&corpus[below(corpus.len())]);
    }
    for _ in 0..=below(4) {
        let at = below(bytes.len());
        let end = (at + 1 + below(8)).min(bytes.len());
        match below(5) {
            0 if at < bytes.len() => bytes[at] = u8::try_from(below(256)).unwrap(),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let twice = bytes[at..end].to_vec();
                bytes.splice(at..at, twice);
            }
            3 if at < bytes.len() => bytes[at] ^= 1 << below(8),
            _ => drop(bytes.splice(at..at, WORDS[below(WORDS.len())].iter().copied())),
        }
    }
    bytes
}
