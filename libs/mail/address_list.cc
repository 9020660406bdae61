#include "libs/mail/address_list.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace postfleet::mail {
namespace {

using Kind = AddressToken::Kind;

// Finds the addresses of a list, from its end to its start: what a word is shows behind it. `edit`
// makes one token of each; true: another than it was.
class ListReader {
 public:
  ListReader(AddressTokens tokens, const AddressEdit& edit) : edit_(edit), in_(std::move(tokens)) {}

  // True: some address changed, and `*out` is the list.
  bool Run(AddressTokens* out) {
    while (!in_.empty()) Take();
    EndAddress(/*add_comma=*/false);
    std::reverse(out_.begin(), out_.end());
    *out = std::move(out_);
    return changed_;
  }

 private:
  AddressToken Pop() {
    AddressToken token = std::move(in_.back());
    in_.pop_back();
    return token;
  }

  void Take() {
    AddressToken token = Pop();
    if (token.kind == Kind::kComment) {
      out_.push_back(std::move(token));
    } else if (token.IsOperator(';')) {
      EndAddress(true);
      out_.push_back(std::move(token));
      in_group_ = after_operator_ = true;
    } else if (token.IsOperator(':') && in_group_) {
      EndAddress(false);
      token.kind = Kind::kGroupStart;
      out_.push_back(std::move(token));
      SkipName(",");
    } else if (token.IsOperator('>')) {
      EndAddress(true);
      out_.push_back(std::move(token));
      TakeBracketed();
    } else if (token.IsOperator(',')) {
      EndAddress(false);
      out_.push_back(std::move(token));
      after_operator_ = true;
    } else if (token.IsWord()) {
      if (!after_operator_) EndAddress(true);
      after_operator_ = false;
      address_.push_back(std::move(token));
    } else {
      after_operator_ = true;
      address_.push_back(std::move(token));
    }
  }

  // Between the brackets, and the name in front of them.
  void TakeBracketed() {
    while (!in_.empty() && !in_.back().IsOperator('<')) {
      AddressToken token = Pop();
      (token.kind == Kind::kComment ? out_ : address_).push_back(std::move(token));
    }
    EndAddress(false);
    SkipName(">;,:");
    after_operator_ = true;
    // What is in front of the name is another address, though no comma says so.
    if (!in_group_ && !in_.empty() && in_.back().IsOperator(':')) out_.push_back(Pop());
  }

  void SkipName(std::string_view ends) {
    while (!in_.empty() && !(in_.back().kind == Kind::kOperator &&
                             ends.find(in_.back().op) != std::string_view::npos)) {
      out_.push_back(Pop());
    }
  }

  void EndAddress(bool add_comma) {
    if (address_.empty()) return;
    std::reverse(address_.begin(), address_.end());
    changed_ |= edit_(&address_);
    out_.push_back(std::move(address_.front()));
    if (add_comma) out_.push_back({Kind::kOperator, ',', {}});
    address_.clear();
  }

  const AddressEdit& edit_;
  AddressTokens in_;       // not yet read; from its end
  AddressTokens address_;  // the address being gathered, last token first
  AddressTokens out_;      // last token first
  bool after_operator_ = true;
  bool in_group_ = false;
  bool changed_ = false;
};

}  // namespace

bool EditAddresses(AddressTokens list, const AddressEdit& edit, AddressTokens* edited) {
  return ListReader(std::move(list), edit).Run(edited);
}

}  // namespace postfleet::mail
