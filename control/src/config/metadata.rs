//! The `metadata` of a document. Labels, annotations and what a Kubernetes API server adds are read over: they have no
//! meaning here, and so `kubectl get -o yaml` can be applied.

use api::v1::QualifiedName;
use mesh::DEFAULT_NAMESPACE;
use runtime::yaml::Position;

use super::complaints::Complaints;
use super::fields::Fields;

const IGNORED: [&str; 10] = [
    "labels",
    "annotations",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
    "ownerReferences",
    "finalizers",
];

/// What a document is called, and where that stands.
#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) name: QualifiedName,
    pub(super) name_at: Position,
    namespace_at: Position,
}

impl Metadata {
    pub(super) fn read(document: &mut Fields<'_>, complaints: &mut Complaints) -> Option<Self> {
        let expected = "every document has `metadata` with a `name`";
        if document.take("metadata").is_none() {
            document.missing("metadata", expected, complaints);
            return None;
        }
        let mut fields = document.fields("metadata", complaints)?;
        let had = complaints.count();
        let name = fields.text("name", complaints);
        if name.is_none() && complaints.count() == had {
            fields.missing("name", expected, complaints);
        }
        let namespace = fields.text("namespace", complaints);
        fields.refuse(&["generateName"], "give the document a `name`", complaints);
        fields.ignore(&IGNORED);
        let position = fields.position;
        fields.finish(complaints);
        let (name, name_at) = name?;
        let (namespace, namespace_at) = namespace.unwrap_or((DEFAULT_NAMESPACE, position));
        let name = QualifiedName { name: name.to_owned(), namespace: namespace.to_owned() };
        Some(Self { name, name_at, namespace_at })
    }

    /// Stands in for metadata that could not be read, so that the rest of the document is read all the same.
    pub(super) fn unnamed(position: Position) -> Self {
        let name = QualifiedName { name: "unnamed".to_owned(), namespace: DEFAULT_NAMESPACE.to_owned() };
        Self { name, name_at: position, namespace_at: position }
    }

    /// The name as a noun; complains where it breaks the noun's rules.
    pub(super) fn noun<T>(&self, complaints: &mut Complaints) -> Option<T>
    where
        T: for<'a> TryFrom<&'a QualifiedName, Error = api::FieldError>,
    {
        T::try_from(&self.name)
            .map_err(|error| {
                let position = if error.field == "namespace" { self.namespace_at } else { self.name_at };
                let message = format!("{} {}", error.value.unwrap_or_default(), error.rule);
                complaints.add(position, &format!("metadata.{}", error.field), message);
            })
            .ok()
    }
}
