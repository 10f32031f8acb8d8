//! Expressions by the thousand, put together by chance, asked of our engine and of RE2 itself, which Envoy and gRPC match by: whatever we take RE2
//! takes too, and both find the same texts. The only texts left out are those that hold letters that fold to ASCII's.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use api::Pattern;

use crate::found::program;

const EXPRESSIONS: usize = 60_000;
const PIECES_MAX: u64 = 9;
const TEXTS: usize = 12;

/// Of so many at least must something be known: chance makes more nonsense than expressions.
const TAKEN_MIN: usize = 10_000;

const PIECES: [&str; 77] = [
    "a",
    "a",
    "b",
    "b",
    "c",
    "/",
    "-",
    "_",
    "1",
    "\u{e9}",
    " ",
    ":",
    ",",
    ".",
    ".",
    "^",
    "$",
    "|",
    "|",
    "(",
    "(",
    ")",
    ")",
    ")",
    "(?:",
    "(?P<n>",
    "(?<m>",
    "(?P<n.1>",
    "(?i)",
    "(?i:",
    "(?-i)",
    "(?sU:",
    "(?m)",
    "(?x)",
    "(?u:",
    "(?=",
    "*",
    "+",
    "?",
    "*?",
    "{2}",
    "{1,3}",
    "{0,}",
    "{0}",
    "{ 1}",
    "{,2}",
    "{40}",
    "{30}",
    "{1001}",
    "{",
    "}",
    "[ab]",
    "[^a]",
    "[a-c]",
    "[[:alpha:]_]",
    "[^[:digit:]-]",
    "[]a]",
    "[]-a]",
    "[a-]",
    "[-a/]",
    "[--a]",
    "[a-b-c]",
    "[a&&b]",
    "[\\d-z]",
    "[\\W_]",
    "[",
    "]",
    "\\d",
    "\\w",
    "\\s",
    "\\S",
    "[\\s-]",
    "[^]\\s]",
    "[\\S-]",
    "[^\\S_]",
    "\\b",
    "\\B{2}",
];

const ESCAPES: [&str; 24] = [
    "\\.",
    "\\/",
    "\\_",
    "\\-",
    "\\ ",
    "\\\\",
    "\\x41",
    "\\x{e9}",
    "\\x{0041}",
    "\\u0041",
    "\\u{41}",
    "\\A",
    "\\z",
    "\\Z",
    "\\n",
    "\\v",
    "\\<",
    "\\>",
    "\\pL",
    "\\1",
    "\\b{start}",
    "\\b{2}",
    "\\Qa.b\\E",
    "\\C",
];

const LETTERS: [&str; 20] = [
    "a", "a", "b", "b", "A", "B", "c", "C", "/", "-", "_", "1", "2", ".", "\u{e9}", "\u{c9}", " ", "\n",
    "\t", "\u{b}",
];

/// Reads an expression and texts from each line, each in hexadecimal digits, and says which of them match as a whole.
const RE2: &str = r#"
import sys, re2
options = re2.Options()
options.log_errors = False
for line in sys.stdin:
    pattern, *texts = [bytes.fromhex(part).decode() for part in line.rstrip("\n").split(" ")]
    try:
        compiled = re2.compile(pattern, options)
        print("".join("1" if compiled.fullmatch(text) else "0" for text in texts))
    except re2.error:
        print("refused")
"#;

struct Chance(u64);

impl Chance {
    /// Splitmix64.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    fn expression(&mut self) -> String {
        let pieces = 1 + self.below(PIECES_MAX);
        let text: String = (0..pieces)
            .map(|_| if self.below(8) == 0 { self.one(&ESCAPES) } else { self.one(&PIECES) })
            .collect();
        // Else most groups stay open.
        let open = text.matches('(').count().saturating_sub(text.matches(')').count());
        text + &")".repeat(open)
    }

    fn text(&mut self) -> String {
        (0..self.below(7)).map(|_| self.one(&LETTERS)).collect()
    }
}

fn digits(text: &str) -> String {
    text.bytes().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").unwrap();
        digits
    })
}

#[test]
fn re2_takes_every_expression_that_we_take_and_matches_the_same_texts() {
    let mut chance = Chance(1);
    let mut asked = Vec::new();
    for expression in std::iter::repeat_with(|| chance.expression()).take(EXPRESSIONS).collect::<Vec<_>>() {
        let Ok(pattern) = Pattern::new(&expression) else { continue };
        let texts: Vec<_> = (0..TEXTS).map(|_| chance.text()).collect();
        let found: String =
            texts.iter().map(|text| if pattern.matches(text.as_bytes()) { '1' } else { '0' }).collect();
        asked.push((expression, texts, found));
    }
    assert!(asked.len() >= TAKEN_MIN, "{} expressions of {EXPRESSIONS} are some", asked.len());

    let python = program("PENSTOCK_PEER_PYTHON", "bin/python");
    let mut re2 =
        Command::new(python).args(["-c", RE2]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines: String = asked
        .iter()
        .map(|(expression, texts, _)| {
            let parts: Vec<_> = std::iter::once(expression).chain(texts).map(|text| digits(text)).collect();
            parts.join(" ") + "\n"
        })
        .collect();
    let mut input = re2.stdin.take().unwrap();
    let writing = std::thread::spawn(move || input.write_all(lines.as_bytes()).unwrap());
    let told = re2.wait_with_output().unwrap();
    writing.join().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();

    let told: Vec<_> = told.lines().collect();
    assert_eq!(told.len(), asked.len(), "it answers each");
    let other: Vec<_> = asked.iter().zip(told).filter(|((_, _, found), told)| found != told).collect();
    let shown: Vec<_> = other.iter().take(20).collect();
    assert!(other.is_empty(), "{} of {} differ: {shown:#?}", other.len(), asked.len());
}
