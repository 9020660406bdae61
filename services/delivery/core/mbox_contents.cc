#include "services/delivery/core/mbox_contents.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace postfleet::delivery {
namespace {

constexpr std::string_view kFrom = "From ";

class LineChanger : public ContentReader {
 public:
  LineChanger(std::unique_ptr<ContentReader> contents, LineChanges changes)
      : contents_(std::move(contents)), changes_(std::move(changes)) {}

  // The reader ends with this one, and its open call with it.
  void Next(Done done) override {
    contents_->Next([this, done = std::move(done)](const absl::Status& status,
                                                   const rpc::Payload& piece) mutable {
      std::string text;
      if (!status.ok() || ended_) return done(status, {});
      if (piece.empty()) {
        End(&text);
      } else {
        for (const grpc::Slice& slice : piece) Change(rpc::AsView(slice), &text);
        // All of it may be the beginning of a "From ".
        if (text.empty()) return Next(std::move(done));
      }
      done(absl::OkStatus(), Piece(std::move(text)));
    });
  }

  bool Restart() override {
    if (!contents_->Restart()) return false;
    held_.clear();
    at_line_start_ = true;
    has_lines_ = ended_ = false;
    return true;
  }

 private:
  static rpc::Payload Piece(std::string text) {
    if (text.empty()) return {};
    return {rpc::OwningSlice(std::move(text))};
  }

  void Change(std::string_view text, std::string* out) {
    // At most a line's first bytes are held: what is added decides.
    while (!held_.empty() && !text.empty()) {
      const size_t more = std::min(kFrom.size() - held_.size(), text.size());
      const std::string beginning = std::exchange(held_, {}).append(text.substr(0, more));
      text.remove_prefix(more);
      ChangeLinesOf(beginning, out);
    }
    ChangeLinesOf(text, out);
  }

  void ChangeLinesOf(std::string_view text, std::string* out) {
    out->reserve(out->size() + text.size() + text.size() / 32);
    while (!text.empty()) {
      if (at_line_start_ && changes_.quote_from && text.size() < kFrom.size() &&
          kFrom.starts_with(text)) {
        held_ = text;
        return;
      }
      BeginLine(text, out);
      const size_t end = text.find('\n');
      out->append(text.substr(0, end));
      if (end == std::string_view::npos) return;
      out->append(changes_.eol);
      at_line_start_ = true;
      text.remove_prefix(end + 1);
    }
  }

  void BeginLine(std::string_view text, std::string* out) {
    if (!std::exchange(at_line_start_, false)) return;
    has_lines_ = true;
    if (changes_.quote_from && text.starts_with(kFrom)) out->push_back('>');
    if (changes_.quote_dot && text.starts_with('.')) out->push_back('.');
  }

  void End(std::string* out) {
    ended_ = true;
    if (!held_.empty()) {
      at_line_start_ = false;
      has_lines_ = true;
      out->append(std::exchange(held_, {}));
    }
    if (!at_line_start_ || !has_lines_) out->append(changes_.eol);
    if (changes_.blank_line) out->append(changes_.eol);
  }

  const std::unique_ptr<ContentReader> contents_;
  const LineChanges changes_;
  std::string held_;  // the beginning of a line that may become "From "
  bool at_line_start_ = true;
  bool has_lines_ = false;
  bool ended_ = false;
};

}  // namespace

std::unique_ptr<ContentReader> ChangeLines(std::unique_ptr<ContentReader> contents,
                                           LineChanges changes) {
  return std::make_unique<LineChanger>(std::move(contents), std::move(changes));
}

}  // namespace postfleet::delivery
