// What local(8) does with one recipient: a tree of aliases, .forward files, lists and users, walked
// in Postfix's order with a stack of its own.
//
//   for (Step step = expansion.Next(); step.kind != kFinished; step = expansion.Next())
//     do it, and tell how it went: OnFile, OnRoute or OnDone, before the next Next.
//
// It opens no user's file, writes none and runs nothing: that is what steps ask for. Tables and
// accounts are asked here, and may block (alias_tables.h, accounts.h). Where a part of an alias is
// deferred the recipient is, and parts that were delivered are so again: as in Postfix, which
// delivers twice rather than not at all. What is to be forwarded is gathered, and goes out at the
// end, if nothing was deferred.
//
// Bounds: nesting of kLevelsMax (5.4.6), duplicate_filter_limit remembered destinations. Memory:
// the values and files on the way from the recipient to the place where it is, and the forwards.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "libs/tables/maps.h"
#include "proto/postfleet/mail/v1/mail.pb.h"
#include "services/delivery/core/routes.h"
#include "services/delivery/core/user_actions.h"
#include "services/delivery/local/accounts.h"
#include "services/delivery/local/alias_tables.h"
#include "services/delivery/local/destinations.h"
#include "services/delivery/local/local_options.h"
#include "services/delivery/local/name_expansion.h"

namespace postfleet::delivery {

struct LocalTables {
  explicit LocalTables(const LocalOptions& options);

  AliasTables aliases;
  tables::Maps mailbox_commands;
  tables::Maps mailbox_transports;
  tables::Maps fallback_transports;
  absl::Status opened;  // of the last three
};

// Whom a part of the tree delivers to, on whose behalf.
struct Party {
  mail::v1::Recipient recipient;
  // Of its address, in lower case.
  std::string local, domain, user;
  char delimiter = 0;  // of the extension
  std::optional<std::string> extension;
  std::optional<std::string> unmatched;  // the extension, where the next address is to get it
  std::string sender;
  std::string delivered;             // the forwarding address, for Delivered-To
  std::optional<std::string> owner;  // who forwards: an owner- alias, a user with a .forward
  std::optional<std::string> expanded_from;
  Origin origin = Origin::kNone;
  // nullopt: nobody's, that is default_privs.
  std::optional<User> rights;
  bool is_list = false;  // the envelope is an owner-'s: nothing of the sender's DSN request counts
  int level = 0;
};

struct Step {
  enum class Kind {
    kFinished,
    kReadFile,   // `text` as `rights`
    kFindRoute,  // of the address `text`
    kDecided,    // `outcome` is the party's: to be logged
    kMailbox,    // at `text`, a user's; a Maildir if it ends in "/"
    kFile,       // append to `text`; a Maildir if it ends in "/"
    kCommand,    // `text`
    kPassOn,     // to the transport `text`
  };
  Kind kind = Kind::kFinished;
  Party party;
  std::string text;
  UserIds rights;
  bool in_spool = false;  // kMailbox: below mail_spool_directory
  mail::v1::Outcome outcome;
};

// A new message.
struct Forwarding {
  std::string delivered;
  std::string sender;
  bool is_list = false;
  std::vector<mail::v1::Recipient> recipients;
};

class Expansion {
 public:
  static constexpr int kLevelsMax = 100;
  static constexpr size_t kFileBytesMax = 16 << 20;

  // What it refers to outlives it. `delivered_before`: the Delivered-To of the message, in lower
  // case.
  Expansion(const LocalOptions& options, LocalTables& tables, Accounts& accounts,
            std::string queue_id, std::string sender, mail::v1::Recipient recipient,
            std::set<std::string> delivered_before);

  Step Next();
  void OnFile(const UserFile& file);                             // kReadFile
  void OnRoute(const absl::Status& status, const Route& route);  // kFindRoute
  void OnDone(mail::v1::Outcome::Action action);                 // the others

  const std::vector<Forwarding>& forwards() const { return forwards_; }
  bool has_deferred() const { return deferred_ > 0; }
  // What the sender, who wants to know of success, is told of an alias or list.
  mail::v1::Outcome::Success success() const { return success_; }

 private:
  // Where the walk goes on, the last first.
  struct RecipientPlace {};
  struct DestinationsPlace {
    std::vector<Destination> destinations;
    size_t next = 0;
  };
  struct LinesPlace {
    std::string text;
    size_t offset = 0;
    std::optional<int> deferred_before;  // of the last line
    std::shared_ptr<size_t> destinations;
  };
  struct AliasEndPlace {
    uint32_t notify = 0;
    int deferred_before = 0;
  };
  struct ForwardPlace {
    std::vector<std::string> paths;
    size_t next = 0;
    bool checks_home = false;  // the home itself is being looked at
  };
  struct ForwardEndPlace {
    std::string path;
    uint32_t notify = 0;
    int deferred_before = 0;
    std::shared_ptr<size_t> destinations;
  };
  struct IncludePlace {
    std::string path;
  };
  struct AddressPlace {};
  struct MailboxPlace {};
  struct Place {
    Party party;
    std::variant<RecipientPlace, DestinationsPlace, LinesPlace, AliasEndPlace, ForwardPlace,
                 ForwardEndPlace, IncludePlace, AddressPlace, MailboxPlace>
        what;
  };

  void Visit(Party party, RecipientPlace place);
  void Visit(Party party, DestinationsPlace place);
  void Visit(Party party, LinesPlace place);
  void Visit(Party party, AliasEndPlace place);
  void Visit(Party party, ForwardPlace place);
  void Visit(Party party, ForwardEndPlace place);
  void Visit(Party party, IncludePlace place);
  void Visit(Party party, AddressPlace place);
  void Visit(Party party, MailboxPlace place);

  void SplitAddress(Party* party);
  void Switch(Party party);
  // True: it is an alias, whatever became of it.
  bool TryAlias(const Party& party, const std::string& name);
  bool TakeAliasRights(const AliasTables::Found& found, Party* party);
  bool TakeOwner(const std::string& name, Party* party);
  void ToUser(Party party);
  void SearchForward(Party party, User user);
  void OnForwardFile(Party party, ForwardPlace place, const UserFile& file);
  void UseForward(Party party, ForwardPlace place, const UserFile& file);
  void OnIncludeFile(Party party, const std::string& path, const UserFile& file);
  void ToMailbox(const Party& party, const User& user);
  bool PassOnByTables(const Party& party, tables::Maps& maps, const std::string& transport);
  void ToUnknown(Party party);
  void ToFile(const Party& party, const std::string& path);
  void ToCommand(const Party& party, const std::string& command);
  void ToInclude(Party party, const std::string& path);
  void Forward(const Party& party);
  // False: nothing may be done in nobody's name (default_privs), and the party is deferred.
  bool MayAct(const Party& party);

  void Push(Party party, decltype(Place::what) what);
  // The place is come back to with the answer.
  void Ask(Step step, Place place);
  void Do(Step step);
  void Decide(const Party& party, mail::v1::Outcome::Action action, const std::string& status,
              const std::string& text);
  void Defer(const Party& party, const std::string& status, const std::string& text);
  void Bounce(const Party& party, const std::string& status, const std::string& text);
  // The second time true.
  bool IsSeen(const std::string& what);
  bool WasSeen(const std::string& what) const;
  UserIds RightsOf(const Party& party) const;

  const LocalOptions& options_;
  LocalTables& tables_;
  Accounts& accounts_;
  const std::string queue_id_;
  const std::set<std::string> delivered_before_;

  std::vector<Place> places_;
  std::deque<Step> steps_;
  std::optional<Place> asked_;
  std::set<std::string> seen_;
  std::vector<Forwarding> forwards_;
  int deferred_ = 0;
  mail::v1::Outcome::Success success_ = mail::v1::Outcome::SUCCESS_UNSPECIFIED;
};

// $user and its kin of a party.
NameValue NamesOf(const Party& party, const LocalOptions& options);

}  // namespace postfleet::delivery
