// The session from the greeting to the reply to EHLO or HELO.
#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>
#include <utility>

#include "libs/base/concat.h"
#include "libs/mail/address.h"
#include "services/delivery/smtp/core/session.h"
#include "services/delivery/smtp/core/session_words.h"

namespace postfleet::delivery::smtp {
namespace {

using mail::v1::Outcome;

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return a.size() == b.size() && mail::LowerCasedAscii(a) == mail::LowerCasedAscii(b);
}

// `SIZE=1000`, as some servers have it, is two words.
std::string_view FirstWord(std::string_view* text) {
  constexpr std::string_view kBetween = " \t=";
  text->remove_prefix(std::min(text->find_first_not_of(kBetween), text->size()));
  const std::string_view word = text->substr(0, text->find_first_of(kBetween));
  text->remove_prefix(word.size());
  return word;
}

}  // namespace

void Session::OnGreeting(const ServerReply& reply) {
  if (!reply.IsPositive()) {
    Outcome rejection = Rejection(reply);
    if (options_.skip_5xx_greeting && reply.IsPermanent()) {
      rejection.mutable_status()->front() = '4';
      rejection.set_action(Outcome::ACTION_DEFERRED);
    }
    return Fail(std::move(rejection));
  }
  SpareFirewall(reply);
  if (SaysEsmtp(reply)) {
    ConcatTo(&output_, options_.lmtp ? "LHLO " : "EHLO ", options_.helo_name, "\r\n");
    return Await(Step::kEhlo);
  }
  ConcatTo(&output_, "HELO ", options_.helo_name, "\r\n");
  Await(Step::kHelo);
}

// The whole reply is looked at, code included: only so are many lines of 220 not a firewall's.
void Session::SpareFirewall(const ServerReply& reply) {
  if (reply.text.find_first_not_of("20 *\t") != std::string::npos) return;
  pix_ = options_.pix_workarounds;
  if (!pix_.any()) return;
  Note(false, Concat(options_.queue_id, options_.queue_id.empty() ? "" : ": ",
                     "enabling PIX workarounds: ", pix_.ToString(), " for ", peer_.WithPort()));
}

// Whether to say EHLO (or LHLO).
bool Session::SaysEsmtp(const ServerReply& reply) {
  bool offered = false;
  bool first = true;
  for (std::string_view words : reply.lines) {
    for (std::string_view word; !(word = FirstWord(&words)).empty(); first = false) {
      offered = offered || EqualsIgnoringCase(word, "ESMTP");
      if (first && options_.detect_loop && EqualsIgnoringCase(word, options_.myhostname)) {
        Note(true, Concat("host ", peer_.WithPort(), " greeted me with my own hostname ",
                          options_.myhostname));
      }
    }
  }
  if (options_.lmtp) return true;
  if (options_.never_send_ehlo || pix_.disable_esmtp) return false;
  return offered || options_.always_send_ehlo;
}

void Session::OnHelo(const ServerReply& reply) {
  if (!reply.IsPositive()) {
    if (step_ == Step::kHelo || options_.lmtp || reply.code == 421) return Fail(Rejection(reply));
    ConcatTo(&output_, "HELO ", options_.helo_name, "\r\n");
    return Await(Step::kHelo);
  }
  const EhloKeywords& discarded = options_.discarded_keywords;
  if (step_ == Step::kEhlo && !discarded.empty() && !discarded.silent()) {
    Note(false, Concat("discarding EHLO keywords: ", discarded.names()));
  }
  if (!TakeFeatures(reply)) return;
  if (features_.smtputf8 && !features_.eight_bit_mime) {
    Note(false, Concat("host ", peer_.ToString(), " offers SMTPUTF8 support, but not 8BITMIME"));
    features_.eight_bit_mime = true;
  }
  Introduced();
}

// False: the server is ourselves.
bool Session::TakeFeatures(const ServerReply& reply) {
  for (size_t i = 0; i < reply.lines.size(); ++i) {
    std::string_view words = reply.lines[i];
    const std::string_view word = FirstWord(&words);
    if (i > 0) {
      if (step_ == Step::kEhlo && !options_.discarded_keywords.Contains(word)) {
        TakeFeature(word, words);
      }
      continue;
    }
    if (!options_.detect_loop || !EqualsIgnoringCase(word, options_.myhostname)) continue;
    Note(true, Concat("host ", peer_.WithPort(), " replied to HELO/EHLO with my own hostname ",
                      options_.myhostname));
    Fail(MakeOutcome(options_.is_best_host ? "5.4.6" : "4.4.6",
                     Concat("mail for ", nexthop_, " loops back to myself")));
    return false;
  }
  return true;
}

void Session::TakeFeature(std::string_view word, std::string_view words) {
  if (EqualsIgnoringCase(word, "PIPELINING")) features_.pipelining = true;
  if (EqualsIgnoringCase(word, "8BITMIME")) features_.eight_bit_mime = true;
  if (EqualsIgnoringCase(word, "DSN")) features_.dsn = true;
  if (EqualsIgnoringCase(word, "SMTPUTF8")) features_.smtputf8 = true;
  if (EqualsIgnoringCase(word, "XFORWARD")) features_.xforward = XforwardNames::Parse(words);
  if (!EqualsIgnoringCase(word, "SIZE")) return;
  features_.size = true;
  const std::string_view limit = FirstWord(&words);
  if (limit.find_first_not_of("0123456789") != std::string_view::npos) {
    return Note(true, Concat("bad EHLO SIZE limit \"", limit, "\" from ", peer_.WithPort()));
  }
  // Too large a number is no limit.
  int64_t bytes = 0;
  const auto end = std::from_chars(limit.data(), limit.data() + limit.size(), bytes);
  features_.size_limit_bytes = end.ec == std::errc() ? static_cast<uint64_t>(bytes) : 0;
}

}  // namespace postfleet::delivery::smtp
