// XCLIENT and XFORWARD: what an authorized client says of the client behind it.
//
// XCLIENT puts another in its place: name and address, and with them the lists it is on and its
// place in the counts of clients, for restrictions, Received and the log; the session begins anew,
// with the greeting, the protocol and the login that the same command brings. Who may say XFORWARD
// stays with the one that connected. The server's address that XCLIENT names serves nothing here:
// no policy server and no milter is told of it. XFORWARD changes nothing here but the log and what
// the message's origin is, for one message.
#include <algorithm>
#include <iterator>

#include "libs/base/concat.h"
#include "services/ingress/core/session.h"

namespace postfleet::ingress {

using smtp::ClientAttribute;

namespace {

constexpr std::string_view kUnknown = "unknown";

const std::string* Find(const smtp::ClientAttributes& attributes, ClientAttribute attribute) {
  const auto found = attributes.find(attribute);
  return found == attributes.end() ? nullptr : &found->second;
}

// As the log and postcat have it.
std::string ValueOf(const smtp::ClientAttributes& attributes, ClientAttribute attribute) {
  const std::string* value = Find(attributes, attribute);
  return std::string(value == nullptr || value->empty() ? kUnknown : *value);
}

// Then all that is not said of it is unknown; a queue id and a source alone are no client.
bool NamesClient(const smtp::ClientAttributes& forwarded) {
  constexpr ClientAttribute kOfClients[] = {ClientAttribute::kName, ClientAttribute::kAddr,
                                            ClientAttribute::kPort, ClientAttribute::kProto,
                                            ClientAttribute::kHelo};
  return std::any_of(std::begin(kOfClients), std::end(kOfClients),
                     [&](ClientAttribute attribute) { return forwarded.contains(attribute); });
}

void Take(const smtp::ClientAttributes& said, ClientAttribute attribute, std::string* fact) {
  if (Find(said, attribute) != nullptr) *fact = ValueOf(said, attribute);
}

}  // namespace

bool Session::MayForward(bool allowed, const smtp::Command& command, Actions* actions) {
  if (transaction_ != nullptr || chunk_.state != Chunk::kNone) {
    return Fail(503, "5.5.1 Error: MAIL transaction in progress", actions);
  }
  if (command.arguments.empty()) {
    return Fail(501, Concat("5.5.4 Syntax: ", smtp::VerbName(command.verb), " attribute=value..."),
                actions);
  }
  if (allowed) return true;
  transcript_.Erred(kPolicyError);
  Reply(550, "5.7.0 Error: insufficient authorization", actions);
  return false;
}

bool Session::Xclient(const smtp::Command& command, Actions* actions) {
  if (!MayForward(facts_.may_xclient, command, actions)) return false;
  smtp::ClientAttributes said;
  if (const auto bad = smtp::ParseXclient(command.arguments, ForwardingSyntax(), &said)) {
    return FailParsing(*bad, command, actions);
  }
  Take(said, ClientAttribute::kName, &facts_.name);
  Take(said, ClientAttribute::kAddr, &facts_.address);
  Take(said, ClientAttribute::kPort, &facts_.port);
  if (facts_.recognize) facts_.recognize(&facts_);
  NameClient();
  // In the name of the new one, as Postfix does.
  EndTranscript("", actions);
  lines_.SetNormalize(NormalizesLines());
  DropTransaction(actions);
  const std::string* helo = Find(said, ClientAttribute::kHelo);
  helo_ = helo == nullptr ? "" : *helo;
  greeted_ = !helo_.empty();
  esmtp_ = ValueOf(said, ClientAttribute::kProto) == "ESMTP";
  const std::string* login = Find(said, ClientAttribute::kLogin);
  login_ = login == nullptr ? "" : *login;
  if (TooManyConnections(actions)) return false;
  FindKeywords(actions);
  if (config_.delay_reject) return ConnectDecided(std::nullopt, actions);
  return Judge(Stage::kClient, client_, &Session::ConnectDecided, actions);
}

smtp::AttributeSyntax Session::ForwardingSyntax() const {
  return {.utf8 = config_.smtputf8, .ipv4 = config_.ipv4, .ipv6 = config_.ipv6};
}

bool Session::Xforward(const smtp::Command& command, Actions* actions) {
  if (!MayForward(facts_.may_xforward, command, actions)) return false;
  smtp::ClientAttributes said;
  if (const auto bad = smtp::ParseXforward(command.arguments, ForwardingSyntax(), &said)) {
    return FailParsing(*bad, command, actions);
  }
  for (auto& [attribute, value] : said) forwarded_[attribute] = std::move(value);
  Reply(250, "2.0.0 Ok", actions);
  return true;
}

maillog::Line Session::ClientNote() const {
  maillog::Line note;
  if (!login_.empty()) {
    note.Add(", sasl_method=", maillog::Fact("sasl_method", "XCLIENT"),
             ", sasl_username=", maillog::Fact("sasl_username", login_));
  }
  const std::string* ident = Find(forwarded_, ClientAttribute::kIdent);
  if (ident != nullptr && !ident->empty()) {
    note.Add(", orig_queue_id=", maillog::Fact("orig_queue_id", *ident));
  }
  if (!NamesClient(forwarded_)) return note;
  const std::string address = ValueOf(forwarded_, ClientAttribute::kAddr);
  std::string client = ValueOf(forwarded_, ClientAttribute::kName);
  if (address != kUnknown) ConcatTo(&client, '[', address, ']');
  note.Add(", orig_client=", maillog::Fact("orig_client", client));
  return note;
}

void Session::WriteOrigin(bool local_headers, mail::v1::Origin* origin) const {
  origin->set_source(local_headers ? "LOCAL" : "REMOTE");
  if (const std::string* id = Find(forwarded_, ClientAttribute::kIdent)) origin->set_ident(*id);
  if (!NamesClient(forwarded_)) {
    origin->set_client_name(facts_.name);
    origin->set_client_address(facts_.address);
    origin->set_client_port(facts_.port);
    origin->set_helo(helo_);
    origin->set_protocol(esmtp_ ? "ESMTP" : "SMTP");
    return;
  }
  origin->set_client_name(ValueOf(forwarded_, ClientAttribute::kName));
  origin->set_client_address(ValueOf(forwarded_, ClientAttribute::kAddr));
  origin->set_client_port(ValueOf(forwarded_, ClientAttribute::kPort));
  origin->set_protocol(ValueOf(forwarded_, ClientAttribute::kProto));
  if (const std::string* helo = Find(forwarded_, ClientAttribute::kHelo)) origin->set_helo(*helo);
}

std::optional<bool> Session::ForwardedIsLocal() const {
  const std::string* source = Find(forwarded_, ClientAttribute::kSource);
  if (source == nullptr || source->empty()) return std::nullopt;
  return *source == "LOCAL";
}

}  // namespace postfleet::ingress
