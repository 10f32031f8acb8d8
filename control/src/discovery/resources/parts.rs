//! Small pieces that several kinds of resource are made of.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, Metadata, SelfConfigSource, SocketAddress,
    address, config_source::ConfigSourceSpecifier, socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{
    RegexMatcher,
    regex_matcher::{EngineType, GoogleRe2},
};
use envoy_types::pb::google::protobuf::value::Kind as Json;
use envoy_types::pb::google::protobuf::{self, Any, Struct, UInt32Value, Value};
use prost::{Message, Name};

/// Key of our own metadata.
pub(super) const METADATA: &str = "penstock";

/// Most steps of an expression's program in Envoy: more than any has that config takes.
const PROGRAM_STEPS_MAX: u32 = 1_000_000;

pub(super) fn encoded(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

pub(super) fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

/// A message that has no name of its own, under the type URL that both ends know it by.
pub(super) fn named_any(type_url: &str, message: &impl Message) -> Any {
    Any { type_url: type_url.to_owned(), value: message.encode_to_vec() }
}

/// "Ask on the stream on which this came."
pub(super) fn on_this_stream() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}

/// "Ask the server from which this came."
pub(super) fn of_this_server() -> ConfigSource {
    let itself = SelfConfigSource { transport_api_version: ApiVersion::V3.into() };
    ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Self_(itself)),
        ..ConfigSource::default()
    }
}

/// One key, one value: a second key would make the bytes differ from node to node.
pub(super) fn metadata(key: &str, value: String) -> Metadata {
    let value = Value { kind: Some(Json::StringValue(value)) };
    let ours = Struct { fields: [(key.to_owned(), value)].into() };
    Metadata { filter_metadata: [(METADATA.to_owned(), ours)].into(), ..Metadata::default() }
}

/// A regular expression of RE2. Where nothing is said, Envoy refuses one of more than 100 steps, and all routes with it; the others read over it.
#[allow(deprecated)] // its successor is a runtime key, which stands in an Envoy's own bootstrap
pub(super) fn expression(text: &str) -> RegexMatcher {
    let engine = GoogleRe2 { max_program_size: Some(number(PROGRAM_STEPS_MAX)) };
    RegexMatcher { regex: text.to_owned(), engine_type: Some(EngineType::GoogleRe2(engine)) }
}

pub(super) fn address(address: SocketAddr) -> Address {
    let socket = SocketAddress {
        address: address.ip().to_string(),
        port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
        ..SocketAddress::default()
    };
    Address { address: Some(address::Address::SocketAddress(socket)) }
}

pub(super) fn number(value: u32) -> UInt32Value {
    UInt32Value { value }
}

pub(super) fn duration(span: Duration) -> protobuf::Duration {
    protobuf::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).unwrap_or(0),
    }
}
