//! Documents as the CLI itself must understand them: as JSON for programs, and by kind and name for `delete -f`.
//! Whether a document is right is not decided here: the control node does that, for every client alike.

use api::v1;
use mesh::{DEFAULT_NAMESPACE, ServiceName};
use runtime::yaml::{Content, Node, parse};

use crate::args::DocumentKind;

/// The first document of `text` as JSON; plain scalars take the type of YAML's core schema.
///
/// # Errors
/// If it is not YAML.
pub fn as_json(text: &str) -> Result<serde_json::Value, String> {
    let parsed = parse(text);
    if let Some(fault) = parsed.faults.first() {
        return Err(format!("the control node sent a document that is no YAML: {fault}"));
    }
    Ok(parsed.documents.first().map_or(serde_json::Value::Null, value))
}

fn value(node: &Node) -> serde_json::Value {
    match &node.content {
        Content::Null => serde_json::Value::Null,
        Content::Scalar { text, .. } => {
            if let Some(boolean) = node.boolean() {
                return boolean.into();
            }
            node.integer().map_or_else(|| text.clone().into(), Into::into)
        }
        Content::List(items) => items.iter().map(value).collect(),
        Content::Map(entries) => entries
            .iter()
            .map(|entry| (entry.key.clone(), value(&entry.value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

/// What one document names.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// Its kind.
    pub kind: DocumentKind,
    /// Its name and namespace.
    pub name: v1::QualifiedName,
}

/// What the documents of a file name, in order; every complaint at once, as `file:line:column: field: message`.
///
/// # Errors
/// If one is not YAML, or states no kind or name that is known; nothing should be done then.
pub fn named(file: &v1::SourceFile, namespace: Option<&str>) -> Result<Vec<Named>, Vec<v1::Complaint>> {
    let parsed = parse(&file.yaml);
    let mut complaints: Vec<v1::Complaint> =
        parsed.faults.iter().map(|fault| complaint(file, fault.position, "", &fault.what)).collect();
    let mut found = Vec::new();
    for document in parsed.documents.iter().filter(|document| document.content != Content::Null) {
        match (kind_of(document), name_of(document, namespace)) {
            (Ok(kind), Ok(name)) => found.push(Named { kind, name }),
            (kind, name) => {
                for (field, fault) in [("kind", kind.err()), ("metadata.name", name.err())] {
                    complaints.extend(fault.map(|fault| complaint(file, document.position, field, &fault)));
                }
            }
        }
    }
    if complaints.is_empty() { Ok(found) } else { Err(complaints) }
}

const EXPECTED: &str = "expected Service, HTTPRoute, GRPCRoute or TrafficPolicy";

fn kind_of(document: &Node) -> Result<DocumentKind, String> {
    match document.entry("kind").and_then(|entry| entry.value.text()) {
        Some("Service") => Ok(DocumentKind::Service),
        Some("HTTPRoute") => Ok(DocumentKind::HttpRoute),
        Some("GRPCRoute") => Ok(DocumentKind::GrpcRoute),
        Some("TrafficPolicy") => Ok(DocumentKind::TrafficPolicy),
        Some(other) => Err(format!("{other:?} is not a kind: {EXPECTED}")),
        None => Err(format!("is missing: {EXPECTED}")),
    }
}

fn name_of(document: &Node, namespace: Option<&str>) -> Result<v1::QualifiedName, String> {
    let metadata = document.entry("metadata").map(|entry| &entry.value);
    let field =
        |key: &str| metadata.and_then(|metadata| metadata.entry(key)).and_then(|entry| entry.value.text());
    let name = field("name").ok_or("is missing")?;
    let namespace = field("namespace").or(namespace).unwrap_or(DEFAULT_NAMESPACE);
    let name = ServiceName::new(name, namespace).map_err(|error| error.to_string())?;
    Ok(v1::QualifiedName { name: name.name().to_owned(), namespace: name.namespace().to_owned() })
}

fn complaint(
    file: &v1::SourceFile,
    at: runtime::yaml::Position,
    field: &str,
    message: &str,
) -> v1::Complaint {
    let narrowed = |figure: usize| u32::try_from(figure).unwrap_or(u32::MAX);
    v1::Complaint {
        file: file.name.clone(),
        line: narrowed(at.line),
        column: narrowed(at.column),
        field: field.to_owned(),
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    fn file(yaml: &str) -> v1::SourceFile {
        v1::SourceFile { name: "shop.yaml".to_owned(), yaml: yaml.to_owned() }
    }

    #[test]
    fn quoted_figures_stay_text_in_json() {
        let json = as_json("a: 1\nb: \"1\"\nc: [true, no, ~]\n").unwrap();
        assert_eq!(json, serde_json::json!({ "a": 1, "b": "1", "c": [true, "no", null] }));
    }

    #[test]
    fn documents_are_known_by_kind_name_and_namespace() {
        let text = "kind: Service\nmetadata: {name: web}\n---\n---\nkind: HTTPRoute\nmetadata: {name: r, namespace: x}\n";
        let found = named(&file(text), Some("shop")).unwrap();
        let said: Vec<String> =
            found.iter().map(|n| format!("{:?} {}.{}", n.kind, n.name.name, n.name.namespace)).collect();
        assert_eq!(said, ["Service web.shop", "HttpRoute r.x"]);
    }

    #[test]
    fn every_document_that_names_nothing_is_complained_of_with_its_place() {
        let complaints =
            named(&file("kind: Pod\nmetadata: {name: a}\n---\nkind: Service\n"), None).unwrap_err();
        let said: Vec<(u32, &str)> = complaints.iter().map(|c| (c.line, c.field.as_str())).collect();
        assert_eq!(said, [(1, "kind"), (4, "metadata.name")]);
        assert!(named(&file("a: ["), None).is_err());
    }
}
