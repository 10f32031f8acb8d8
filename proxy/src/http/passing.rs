//! What both directions do to a message as it passes: whom it asks for, what of its head goes on, and how an answer or a
//! refusal goes back to the caller. Must never decide where a request goes.

use http::uri::Authority;
use http::{HeaderName, HeaderValue, Response, StatusCode, Version, header, request};

use super::body::AnswerBody;
use super::hop;
use super::refusal::Refusal;
use super::send::{Answer, Unsent};
use super::tally::Tally;

/// Says to the callee's proxy who calls.
pub const CALLER_HEADER: HeaderName = HeaderName::from_static("penstock-caller");

/// The authority as the request spells it. An absolute URI overrules `host` (RFC 9112, section 3.2.2).
#[must_use]
pub fn spelled_authority(parts: &request::Parts) -> &[u8] {
    match parts.uri.authority() {
        Some(authority) => host_of(authority).as_bytes(),
        None => parts.headers.get(header::HOST).map_or(&[], HeaderValue::as_bytes),
    }
}

/// An authority as `host` states it: without a user (RFC 9110, section 4.2.4).
fn host_of(authority: &Authority) -> &str {
    let text = authority.as_str();
    text.rsplit_once('@').map_or(text, |(_, host)| host)
}

/// Makes a request's head fit to be sent on. An upgrade that HTTP/1.1 asks for is passed on. What the endpoint is told is the
/// host by which the request was routed.
pub fn prepare(parts: &mut request::Parts) {
    if parts.headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
        // From HTTP/2, where they were compared; HTTP/1 has one (RFC 9110, section 8.6).
        let length = parts.headers[header::CONTENT_LENGTH].clone();
        parts.headers.insert(header::CONTENT_LENGTH, length);
    }
    let upgrade = hop::strip(&mut parts.headers).filter(|protocol| {
        // HTTP/2 is spoken with prior knowledge only; a caller that offers it gets HTTP/1.1, as it may.
        parts.version == Version::HTTP_11 && !offers_h2c(protocol)
    });
    if let Some(authority) = parts.uri.authority() {
        if parts.version >= Version::HTTP_2 {
            // It is made of the authority where HTTP/1.1 needs it; another one would overrule that (RFC 9113, section 8.3.1).
            parts.headers.remove(header::HOST);
        } else if let Ok(host) = HeaderValue::from_str(host_of(authority)) {
            parts.headers.insert(header::HOST, host);
        }
    }
    if let Some(upgrade) = upgrade {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(header::UPGRADE, upgrade);
    }
}

/// Gives a request that names no host, as HTTP/1.0 allows, the one that it reaches: no later version goes without
/// (RFC 9112, section 3.2).
pub fn name_host(parts: &mut request::Parts, host: impl FnOnce() -> Vec<u8>) {
    if parts.uri.authority().is_none()
        && !parts.headers.contains_key(header::HOST)
        && let Ok(host) = HeaderValue::from_maybe_shared(bytes::Bytes::from(host()))
    {
        parts.headers.insert(header::HOST, host);
    }
}

/// Whether HTTP/2 is among the protocols of an upgrade (RFC 9110, section 7.8: a list, whose names have no case). Passed on,
/// it would hide the requests after the first one from us.
fn offers_h2c(protocols: &HeaderValue) -> bool {
    let mut protocols = protocols.as_bytes().split(|byte| *byte == b',');
    protocols.any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(b"h2c"))
}

/// The answer as it goes back to the caller.
#[must_use]
pub fn passed_back(mut answer: Answer, mut tally: Tally) -> Response<AnswerBody> {
    tally.answered(answer.status, &answer.headers);
    let upgrade = hop::strip(&mut answer.headers);
    let body = AnswerBody::new(answer.source, tally, answer.watch);
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    // Which protocol it goes on in, or which it insists on (RFC 9110, sections 7.8 and 15.5.22).
    let tells = matches!(answer.status, StatusCode::SWITCHING_PROTOCOLS | StatusCode::UPGRADE_REQUIRED);
    if let Some(upgrade) = upgrade.filter(|_| tells) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(header::UPGRADE, upgrade);
    }
    response
}

/// The answer to a request that got none; closes the account.
#[must_use]
pub fn unanswered(unsent: Unsent, is_grpc: bool, mut tally: Tally) -> Response<AnswerBody> {
    if !unsent.blames_endpoint() {
        tally.absolve();
    }
    refused(unsent.refusal(), is_grpc, tally)
}

/// The proxy's own answer; closes the account.
#[must_use]
pub fn refused(refusal: Refusal, is_grpc: bool, mut tally: Tally) -> Response<AnswerBody> {
    tally.refused(refusal, is_grpc);
    refusal.response(is_grpc).map(AnswerBody::text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_to_http_2_is_not_passed_on_however_it_is_spelled() {
        for (protocols, is_h2c) in
            [("h2c", true), ("H2C", true), ("websocket, h2c", true), ("h2c,x", true), ("websocket", false)]
        {
            assert_eq!(offers_h2c(&HeaderValue::from_static(protocols)), is_h2c, "{protocols}");
        }
    }
}
