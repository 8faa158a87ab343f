"""Memory of work done: what a conversation grew from is not read, surveyed, hashed and translated again for every turn.

A request of an agent is the one before and a little more. So of each conversation the memory keeps, in RAM alone, the text of
its elements and what came of working on them. Four steps, a module each:

- `conversations`: the elements that a request shares with an earlier one are found by comparing bytes, and cut out of the
  text before it is parsed. What is remembered is put in their place.
- `groups`: turns that lie behind (an answer, and what it got in return) and have no tie to what stands before or after them
  are worked on alone: their survey, their hashes, their neutral messages. What is done of several is put together.
- `known`: a request with the groups that are known of it, asked as if it were read anew. It works on the rest, in whose midst
  a short exchange stands for what is left out.
- `translation`: the same for the provider's JSON, in which the groups stand as bytes.

Nothing here decides what is right: every result is, field by field and byte by byte, that of the protocol modules on the whole
request, and where that is not certain the whole request is worked on. Elements and messages are shared between requests, so
nobody may change them; the protocols promise that.
"""
